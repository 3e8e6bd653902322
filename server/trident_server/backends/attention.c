/* Attention of a packed batch, which goes from one sequence to the next: no token looks at another sequence's, so that
 * neither masks nor free slots are computed.
 *
 * Source of its order: Dao, FlashAttention-2 (2023), algorithm 1. */

#include "kernels.h"

enum { QUERIES = 4, TILE = 64, PANEL = 64, MOST_DIM = 256 };

/* One head of one sequence. Strides are in numbers. */
struct sequence {
  const float *query, *key, *value;
  int64_t query_stride, key_stride, value_stride;
  float* out;
  int64_t out_stride;
  /* Of each query to all keys; NULL without one. */
  const float* bias;
  int64_t bias_stride;
  int64_t tokens;
};

/* Rows become columns: in each round, pairs of rows exchange parts that are twice as long. */
INLINE void turn(lanes rows[LANES])
{
  const integers count = COUNT;
  _Pragma("GCC unroll 4") for (int step = 1; step < LANES; step *= 2) EACH(row, LANES)
  {
    if (row & step) continue;
    integers odd = (count & step) != 0;
    lanes one = rows[row], other = rows[row + step];
    rows[row] = __builtin_shuffle(one, other, (~odd & count) | (odd & (count - step + LANES)));
    rows[row + step] = __builtin_shuffle(one, other, (~odd & (count + step)) | (odd & (count + LANES)));
  }
}

/* Writes a panel's keys as [dim][PANEL], for `vectors` of them; those behind the last one mean nothing. */
INLINE void turn_keys(const float* from, int64_t stride, int keys, int dim, int vectors, float* to)
{
  for (int first = 0; first < vectors * LANES; first += LANES) {
    const float* at[LANES];
    EACH(key, LANES) at[key] = from + (first + key < keys ? first + key : 0) * stride;
    int d = 0;
    for (; d + LANES <= dim; d += LANES) {
      lanes rows[LANES];
      EACH(key, LANES) rows[key] = load(at[key] + d);
      turn(rows);
      EACH(column, LANES) store(to + (d + column) * PANEL + first, rows[column]);
    }
    for (; d < dim; d++)
      for (int key = 0; key < LANES; key++) to[d * PANEL + first + key] = at[key][d];
  }
}

/* For the next `wide` vectors: four rows of sums, to which every step adds `given`, of its own, times `factor`, of a
 * row and the step. */
#define MULTIPLY(wide, begin, steps, factor, given, end)               \
  {                                                                    \
    lanes sums[QUERIES][wide];                                         \
    EACH(query, QUERIES) EACH(vector, wide) sums[query][vector] = begin; \
    for (int step = 0; step < (steps); step++) {                       \
      lanes one[wide];                                                 \
      EACH(vector, wide) one[vector] = given;                          \
      EACH(query, QUERIES)                                             \
      {                                                                \
        lanes times = splat(factor);                                   \
        EACH(vector, wide) sums[query][vector] += times * one[vector]; \
      }                                                                \
    }                                                                  \
    EACH(query, QUERIES) EACH(vector, wide) end;                       \
    from += (wide)*LANES;                                              \
  }

/* Scores, [QUERIES][PANEL], are the products of queries, [QUERIES][row], and keys, [dim][PANEL]. */
INLINE void score(const float* queries, int row, const float* keys, int dim, int vectors, float* scores)
{
#define SCORE(wide)                                                                                          \
  MULTIPLY(wide, splat(0), dim, queries[query * row + step], load(keys + step * PANEL + from + vector * LANES), \
           store(scores + query * PANEL + from + vector * LANES, sums[query][vector]))
  int from = 0;
  while (from + WIDEST * LANES <= vectors * LANES) SCORE(WIDEST)
  if (WIDEST > 2 && from + 2 * LANES <= vectors * LANES) SCORE(2)
  if (from < vectors * LANES) SCORE(1)
}

/* Sums, [QUERIES][row], grow by the values of keys, times the keys' weights, [QUERIES][PANEL]. */
INLINE void gather(const float* weights, const float* values, int64_t stride, int keys, float* found, int row)
{
#define GATHER(wide)                                                                     \
  MULTIPLY(wide, load(found + query * row + from + vector * LANES), keys,                \
           weights[query * PANEL + step], load(values + step * stride + from + vector * LANES), \
           store(found + query * row + from + vector * LANES, sums[query][vector]))
  int from = 0;
  while (from + WIDEST * LANES <= row) GATHER(WIDEST)
  if (WIDEST > 2 && from + 2 * LANES <= row) GATHER(2)
  if (from < row) GATHER(1)
}

/* Makes weights of scores, relative to the largest score so far; says what the sums so far are to be multiplied by. */
INLINE float weigh(float* scores, const float* bias, int keys, float* top, float* total)
{
  const integers count = COUNT;
  int vectors = (keys + LANES - 1) / LANES;
  lanes highest = splat(*top), sum = {0};
  for (int vector = 0; vector < vectors; vector++) {
    float* at = scores + vector * LANES;
    lanes found = load(at);
    if (bias != NULL && (vector + 1) * LANES <= keys)
      found += load(bias + vector * LANES);
    else if (bias != NULL)
      for (int key = vector * LANES; key < keys; key++) found[key % LANES] += bias[key];
    if ((vector + 1) * LANES > keys) found = choose(count + vector * LANES < keys, found, splat(-INFINITY));
    highest = larger(highest, found);
    store(at, found);
  }
  OF_ALL(highest, larger(highest, other))
  for (int vector = 0; vector < vectors; vector++) {
    lanes weight = exponential(load(scores + vector * LANES) - highest);
    sum += weight;
    store(scores + vector * LANES, weight);
  }
  OF_ALL(sum, sum + other)
  float factor = *total > 0 ? exponential(*top - highest)[0] : 0;
  *total = *total * factor + sum[0];
  *top = highest[0];
  return factor;
}

INLINE void attend(const struct sequence* of, int dim, float scale)
{
  float queries[TILE * MOST_DIM], sums[TILE * MOST_DIM], keys[MOST_DIM * PANEL], tails[PANEL * MOST_DIM];
  float scores[QUERIES * PANEL], tops[TILE], totals[TILE];
  int row = (dim + LANES - 1) / LANES * LANES;
  for (int64_t first = 0; first < of->tokens; first += TILE) {
    int count = of->tokens - first < TILE ? (int)(of->tokens - first) : TILE;
    int rounded = (count + QUERIES - 1) / QUERIES * QUERIES;
    for (int query = 0; query < rounded; query++) {
      const float* from = of->query + (first + (query < count ? query : 0)) * of->query_stride;
      for (int d = 0; d < dim; d++) queries[query * row + d] = from[d] * scale;
      for (int d = 0; d < row; d++) sums[query * row + d] = 0;
      tops[query] = -INFINITY;
      totals[query] = 0;
    }
    for (int64_t panel = 0; panel < of->tokens; panel += PANEL) {
      int here = of->tokens - panel < PANEL ? (int)(of->tokens - panel) : PANEL;
      int wide = (here + LANES - 1) / LANES;
      const float* values = of->value + panel * of->value_stride;
      int64_t stride = of->value_stride;
      turn_keys(of->key + panel * of->key_stride, of->key_stride, here, dim, wide, keys);
      if (row != dim) {
        for (int key = 0; key < here; key++)
          for (int d = 0; d < row; d++) tails[key * row + d] = d < dim ? values[key * stride + d] : 0;
        values = tails;
        stride = row;
      }
      for (int query = 0; query < rounded; query += QUERIES) {
        score(queries + query * row, row, keys, dim, wide, scores);
        for (int each = 0; each < QUERIES; each++) {
          int64_t place = first + (query + each < count ? query + each : 0);
          const float* bias = of->bias == NULL ? NULL : of->bias + place * of->bias_stride + panel;
          float factor = weigh(scores + each * PANEL, bias, here, tops + query + each, totals + query + each);
          float* sum = sums + (query + each) * row;
          for (int d = 0; panel > 0 && d < row; d += LANES) store(sum + d, load(sum + d) * factor);
        }
        gather(scores, values, stride, here, sums + query * row, row);
      }
    }
    for (int query = 0; query < count; query++) {
      float share = 1.0f / totals[query];
      float* to = of->out + (first + query) * of->out_stride;
      for (int d = 0; d < dim; d++) to[d] = sums[query * row + d] * share;
    }
  }
}

/* Parts that the sequences of a head are dealt out to, so that threads find something to do: each has some heads. */
enum { PARTS = 4 };

/* A tensor [1, heads, tokens, dim], whose last stride is 1, but for the output, which is [1, tokens, heads, dim]. */
struct heads {
  float* data;
  int64_t head_stride, token_stride;
};

struct batch {
  struct heads query, key, value, out;
  const float* bias;
  /* Blocks, then rows, width and whether it is shared of each, then every slot's sequence. */
  const int64_t* layout;
  int64_t heads, tokens, dim;
  float scale;
};

INLINE void attend_part(const struct batch* of, int64_t head, int64_t part)
{
  const int64_t *table = of->layout + 1, *holder = table + 3 * of->layout[0];
  const float* bias = of->bias;
  int64_t start = 0, number = 0;
  for (int64_t block = 0; block < of->layout[0]; block++) {
    int64_t rows = table[3 * block], width = table[3 * block + 1], shared = table[3 * block + 2];
    for (int64_t row = 0; row < rows; row++) {
      int64_t first = start + row * width;
      for (int64_t from = 0, after; from < width; from = after) {
        int64_t held = holder[first + from];
        for (after = from + 1; after < width && holder[first + after] == held; after++) continue;
        if (number++ % PARTS != part) continue;
        float* out = of->out.data + head * of->out.head_stride + (first + from) * of->out.token_stride;
        if (held < 0) {
          /* Free slots: whatever is there is multiplied further, and read by nobody. */
          for (int64_t slot = from; slot < after; slot++)
            for (int64_t d = 0; d < of->dim; d++) out[(slot - from) * of->out.token_stride + d] = 0;
          continue;
        }
        int64_t place = head * width * width + from * width + from;
        if (shared == 1) place += row * of->heads * width * width;
        struct sequence sequence = {
            .query = of->query.data + head * of->query.head_stride + (first + from) * of->query.token_stride,
            .key = of->key.data + head * of->key.head_stride + (first + from) * of->key.token_stride,
            .value = of->value.data + head * of->value.head_stride + (first + from) * of->value.token_stride,
            .query_stride = of->query.token_stride,
            .key_stride = of->key.token_stride,
            .value_stride = of->value.token_stride,
            .out = out,
            .out_stride = of->out.token_stride,
            .bias = bias == NULL ? NULL : bias + place,
            .bias_stride = width,
            .tokens = after - from};
        attend(&sequence, (int)of->dim, of->scale);
      }
    }
    start += rows * width;
    if (bias != NULL) bias += of->heads * width * width * (shared == 1 ? rows : 1);
  }
  if (part == 0)
    for (int64_t slot = start; slot < of->tokens; slot++)
      for (int64_t d = 0; d < of->dim; d++)
        of->out.data[head * of->out.head_stride + slot * of->out.token_stride + d] = 0;
}

static void attend_parts(int64_t begin, int64_t end, void* batch)
{
  const struct batch* of = batch;
  for (int64_t each = begin; each < end; each++) attend_part(of, each / PARTS, each % PARTS);
}

static struct heads heads_of(StableIValue value, int64_t head, int64_t token)
{
  return (struct heads){data_of(value), stride_of(value, head), stride_of(value, token)};
}

/* (out!, query, key, value, layout, scale, bias or nothing) -> whether it was computed */
void packed_attention(StableIValue* stack, uint64_t inputs, uint64_t outputs)
{
  (void)outputs;
  int taken = dtype_of(stack[4]) == aoti_torch_dtype_int64() && size_of(stack[1], 3) <= MOST_DIM;
  for (int each = 0; each < 4; each++)
    taken &= dtype_of(stack[each]) == aoti_torch_dtype_float32() && stride_of(stack[each], 3) == 1;
  if (inputs > 6) taken &= dtype_of(stack[6]) == aoti_torch_dtype_float32();
  if (taken) {
    struct batch batch = {
        .out = heads_of(stack[0], 2, 1),
        .query = heads_of(stack[1], 1, 2),
        .key = heads_of(stack[2], 1, 2),
        .value = heads_of(stack[3], 1, 2),
        .layout = data_of(stack[4]),
        .scale = number_of(stack[5]),
        .bias = inputs > 6 ? data_of(stack[6]) : NULL,
        .heads = size_of(stack[1], 1),
        .tokens = size_of(stack[1], 2),
        .dim = size_of(stack[1], 3)};
    torch_parallel_for(0, batch.heads * PARTS, 1, attend_parts, &batch);
  }
  for (uint64_t each = 0; each < inputs; each++)
    if (each != 5) aoti_torch_delete_tensor_object(tensor_of(stack[each]));
  stack[0] = (StableIValue)taken;
}

