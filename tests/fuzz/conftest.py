"""The profile of a night: ``--hypothesis-profile=night`` looks a hundred times as long, at other examples each time."""

import hypothesis

hypothesis.settings.register_profile(
    "night",
    parent=hypothesis.settings.get_profile("repeatable"),
    derandomize=False,
    print_blob=True,
    max_examples=10_000,
)
