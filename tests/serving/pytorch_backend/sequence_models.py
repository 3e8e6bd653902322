"""Models of sequences, which keep what they were sent in themselves or in a state of Triton's.

After those of Triton's own tests: an accumulator with START and READY, one with all controls and the oldest sequence
first, and the same with an implicit state.
"""

import numpy as np

from . import modules
from .model import Model, sample

TENSORS = """
max_batch_size: {0}
input [ {{ name: "X__0" data_type: TYPE_FP32 dims: [ 1 ] }} ]
output [ {{ name: "Y__0" data_type: TYPE_FP32 dims: [ {1} ] }} ]
"""
# Triton's own default is a second, which a busy machine may take for a request.
IDLE = "max_sequence_idle_microseconds: 60000000"
START = '{ name: "START__1" control { kind: CONTROL_SEQUENCE_START int32_false_true: [ 0, 1 ] } }'
ZERO = "data_type: TYPE_{} dims: [ 1 ] zero_data: true"
READY = '{ name: "READY__2" control { kind: CONTROL_SEQUENCE_READY int32_false_true: [ 0, 1 ] } }'
INTEGER = ZERO.format("INT32")

SEQUENCES = {
    "running": Model(
        modules.Running(),
        TENSORS.format(1, 1)
        + f"sequence_batching {{ {IDLE} control_input [ {START}, {READY} ] }}\n"
        + sample("a request of a sequence", 1, X__0=ZERO.format("FP32"), START__1=INTEGER, READY__2=INTEGER),
    ),
    # Half of the slots are enough to begin; fewer wait.
    "slots": Model(
        modules.Slots(),
        TENSORS.format(4, 3) + f"sequence_batching {{ {IDLE} control_input [ {START}, {READY} ]"
        " direct { max_queue_delay_microseconds: 800000 minimum_slot_utilization: 0.5 } }\n"
        + sample("all slots", 4, X__0=ZERO.format("FP32"), START__1=INTEGER, READY__2=INTEGER),
    ),
    "controls": Model(
        modules.Controls(),
        TENSORS.format(4, 6)
        + f"sequence_batching {{ {IDLE} oldest {{ max_candidate_sequences: 4 }} control_input [ {START}, "
        '{ name: "END__2" control { kind: CONTROL_SEQUENCE_END fp32_false_true: [ 0, 1 ] } }, '
        '{ name: "READY__3" control { kind: CONTROL_SEQUENCE_READY bool_false_true: [ false, true ] } }, '
        '{ name: "ID__4" control { kind: CONTROL_SEQUENCE_CORRID data_type: TYPE_INT64 } } ] }\n',
    ),
}
# Triton keeps a state only for models in its own process; elsewhere their load fails.
STATES = {
    "kept": Model(
        modules.Kept(),
        TENSORS.format(4, 1)
        + f"sequence_batching {{ {IDLE} oldest {{ max_candidate_sequences: 4 }} control_input [ {START} ] "
        'state [ { input_name: "SUM__2" output_name: "SUM__1" data_type: TYPE_FP32 dims: [ 1 ] } ] }\n',
    ),
    # As the first, in the slots of two instances, and what it begins with is a file's.
    "kept_in_slots": Model(
        modules.Carried(),
        TENSORS.format(2, 1) + f"sequence_batching {{ {IDLE} direct {{ }} "
        'state [ { input_name: "SUM__1" output_name: "SUM__1" data_type: TYPE_FP32 dims: [ 1 ] initial_state: '
        '{ name: "a hundred" data_type: TYPE_FP32 dims: [ 1 ] data_file: "hundred" } } ] }\n',
        instances=2,
        files={"initial_state/hundred": np.float32(100).tobytes()},
    ),
    # Without a batch dimension, and the state is an output too.
    "kept_and_told": Model(
        modules.Carried(),
        TENSORS.format(0, 1)
        + 'output [ { name: "SUM__1" data_type: TYPE_FP32 dims: [ 1 ] } ]\n'
        + f"sequence_batching {{ {IDLE} "
        'state [ { input_name: "SUM__1" output_name: "SUM__1" data_type: TYPE_FP32 dims: [ 1 ] initial_state: '
        '{ name: "nothing" data_type: TYPE_FP32 dims: [ 1 ] zero_data: true } } ] }\n',
    ),
}
