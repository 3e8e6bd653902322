"""The bias on distances for other encoders than the one that is adapted: T5's kind, by its own attention."""

import functools

import pytest
import torch
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention
from trident_training.export.attention import packed_attention
from trident_training.export.packing import pack
from trident_training.export.relative import distances, packed_bias

HEADS, HIDDEN = 4, 32


# One sequence; some that share rows and some that do not; one longer than T5 tells distances apart.
@pytest.mark.parametrize("lengths", [[9], [3, 3, 2, 17, 5, 1, 30], [70, 12, 11]])
def test_packed_attention_with_t5s_bias_is_t5s_attention(lengths):
    torch.manual_seed(3)
    config = T5Config(d_model=HIDDEN, d_kv=8, num_heads=HEADS, relative_attention_max_distance=40, is_decoder=False)
    attention = T5Attention(config, has_relative_attention_bias=True).eval()
    torch.nn.init.normal_(attention.relative_attention_bias.weight, std=2)
    bucket = functools.partial(
        T5Attention._relative_position_bucket,
        num_buckets=config.relative_attention_num_buckets,
        max_distance=config.relative_attention_max_distance,
    )
    sequences = [torch.randn(length, HIDDEN) for length in lengths]
    batch = pack(torch.ones(sum(lengths), dtype=torch.int32), torch.tensor(lengths))
    slots = int(batch.layout[0, 0, 0, 1 + 3 * int(batch.layout.flatten()[0]) :].numel())
    row = torch.zeros(1, slots, HIDDEN).index_copy(1, batch.slot, torch.cat(sequences)[batch.source].unsqueeze(0))
    with torch.no_grad():
        query, key, value = (
            part(row).view(1, slots, HEADS, -1).transpose(1, 2) for part in (attention.q, attention.k, attention.v)
        )
        bias = packed_bias(attention.relative_attention_bias(bucket(distances(batch.layout))), batch.layout)
        attended = packed_attention(query, key, value, batch.layout, attention.scaling, bias).flatten(2)
        found = attention.o(attended)[0, batch.slot]
        plain = torch.cat([attention(each.unsqueeze(0))[0][0] for each in sequences])[batch.source]
    torch.testing.assert_close(found, plain, atol=1e-5, rtol=1e-4)
