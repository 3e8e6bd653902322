/* Linear layers in int8 on processors that add up four products of bytes at a time (AVX512-VNNI).
 *
 * Inputs become whole numbers of 0 to 255 in blocks of rows that stay in a core's cache, and a layer before a GELU hands
 * its answers to the next one there. Weights are [panels][inputs / 4][64][4]: what a step of a panel of 64 outputs reads
 * stands together.
 *
 * Source of the arithmetic: Jacob et al., Quantization and Training of Neural Networks (2018), section 2.3. */

#include "kernels.h"

#ifdef __AVX512VNNI__

#include <immintrin.h>
#include <stdlib.h>
#include <string.h>

enum { ROWS = 6, VECTORS = 4, PANEL = VECTORS * LANES, BLOCK = 96, MOST = 8192 };

/* A layer, and how its inputs become whole numbers: times a factor each, rounded, plus `zero`. What a product of whole
 * numbers is worth is a scale of each output, and an offset that has the bias. */
struct layer {
  const float *factors, *scales, *offsets;
  const int8_t* weights;
  int64_t inputs, outputs;
  int32_t zero;
};

INLINE __m128i whole(lanes value, int32_t zero)
{
  __m512i rounded = _mm512_add_epi32(_mm512_cvtps_epi32((__m512)value), _mm512_set1_epi32(zero));
  return _mm512_cvtusepi32_epi8(_mm512_max_epi32(rounded, _mm512_setzero_si512()));
}

static void quantize(const struct layer* of, const float* rows, int64_t count, uint8_t* to)
{
  for (int64_t row = 0; row < count; row++)
    for (int64_t input = 0; input < of->inputs; input += LANES) {
      lanes value = load(rows + row * of->inputs + input) * load(of->factors + input);
      _mm_storeu_si128((__m128i*)(to + row * of->inputs + input), whole(value, of->zero));
    }
}

/* Sooner than a division, and to 2e-8: a step of Newton's. */
INLINE lanes reciprocal(lanes value)
{
  lanes near = (lanes)_mm512_rcp14_ps((__m512)value);
  return near * (2.0f - value * near);
}

/* Half of x * (1 + erf(x / sqrt(2))), to 2e-7 of what it is for 1.
 * Source of the error function: Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26. */
INLINE lanes gelu(lanes value)
{
  lanes size = larger(value, -value) * 0.70710678f, part = reciprocal(size * 0.3275911f + 1.0f);
  lanes sum = part * 1.061405429f - 1.453152027f;
  sum = sum * part + 1.421413741f;
  sum = sum * part - 0.284496736f;
  sum = sum * part + 0.254829592f;
  lanes tail = 0.5f * value * sum * part * exponential(-size * size);
  return choose(value > 0, value - tail, tail);
}

/* Where a panel's answers go: as they are, [rows][stride], or through a GELU as the next layer's whole numbers. */
struct target {
  float* out;
  uint8_t* given;
  int64_t stride;
  const float* factors;
  int32_t zero;
};

/* Products of `rows` rows with a panel. The compiler copies every sum that it is given as an intrinsic's. */
#define PRODUCTS(rows)                                                                                            \
  case rows: {                                                                                                    \
    __m512i sums[rows][VECTORS];                                                                                  \
    EACH(row, rows) EACH(vector, VECTORS) sums[row][vector] = _mm512_setzero_si512();                             \
    for (int64_t input = 0; input < of->inputs; input += 4) {                                                     \
      __m512i weights[VECTORS];                                                                                   \
      EACH(vector, VECTORS) weights[vector] = _mm512_loadu_si512(panel + input * PANEL + vector * 4 * LANES);     \
      EACH(row, rows)                                                                                             \
      {                                                                                                           \
        int32_t four;                                                                                             \
        memcpy(&four, given + row * of->inputs + input, sizeof(four));                                            \
        __m512i bytes = _mm512_set1_epi32(four);                                                                  \
        EACH(vector, VECTORS)                                                                                     \
        __asm__("vpdpbusd %2, %1, %0" : "+v"(sums[row][vector]) : "v"(bytes), "v"(weights[vector]));              \
      }                                                                                                           \
    }                                                                                                             \
    EACH(row, rows) EACH(vector, VECTORS)                                                                         \
    {                                                                                                             \
      int64_t output = first + vector * LANES, place = (done + row) * to->stride + output;                        \
      lanes answer = (lanes)_mm512_cvtepi32_ps(sums[row][vector]) * load(of->scales + output) + load(of->offsets + output); \
      if (to->out != NULL) store(to->out + place, answer);                                                        \
      else                                                                                                        \
        _mm_storeu_si128((__m128i*)(to->given + place), whole(gelu(answer) * load(to->factors + output), to->zero)); \
    }                                                                                                             \
    break;                                                                                                        \
  }

/* Answers of a layer to `count` rows of whole numbers, of the outputs from `first` on, of one panel. */
static void multiply(const struct layer* of, const uint8_t* given, int64_t count, int64_t first, const struct target* to)
{
  const int8_t* panel = of->weights + first * of->inputs;
  for (int64_t done = 0; done < count; done += ROWS, given += ROWS * of->inputs)
    switch (count - done < ROWS ? count - done : ROWS) {
      PRODUCTS(1)
      PRODUCTS(2)
      PRODUCTS(3)
      PRODUCTS(4)
      PRODUCTS(5)
      PRODUCTS(6)
    }
}

/* A layer's answers to all rows, dealt out as tasks: blocks of rows, and parts of each block's panels. */
struct pass {
  const struct layer* of;
  int64_t count, parts;
  /* The rows, or the whole numbers that they have become. */
  const float* rows;
  const uint8_t* given;
  struct target to;
  /* The layer behind the GELU, if it is to be computed along; then `to` is the place of its answers. */
  const struct layer* then;
};

static void pass_tasks(int64_t begin, int64_t end, void* pass)
{
  const struct pass* all = pass;
  const struct layer *of = all->of, *then = all->then;
  uint8_t own[all->rows == NULL ? 1 : BLOCK * of->inputs], between[then == NULL ? 1 : BLOCK * of->outputs];
  for (int64_t task = begin; task < end; task++) {
    int64_t block = task / all->parts * BLOCK, part = task % all->parts, panels = of->outputs / PANEL;
    int64_t count = all->count - block < BLOCK ? all->count - block : BLOCK;
    const uint8_t* given = all->given == NULL ? own : all->given + block * of->inputs;
    if (all->rows != NULL) quantize(of, all->rows + block * of->inputs, count, own);
    struct target to = all->to;
    if (to.out != NULL) to.out += block * to.stride;
    if (to.given != NULL) to.given += block * to.stride;
    struct target next = to;
    if (then != NULL) next = (struct target){NULL, between, of->outputs, then->factors, then->zero};
    for (int64_t panel = part * panels / all->parts; panel < (part + 1) * panels / all->parts; panel++)
      multiply(of, given, count, panel * PANEL, &next);
    for (int64_t output = 0; then != NULL && output < then->outputs; output += PANEL)
      multiply(then, between, count, output, &to);
  }
}

static void run(struct pass* pass)
{
  int64_t blocks = (pass->count + BLOCK - 1) / BLOCK;
  torch_parallel_for(0, blocks * pass->parts, 1, pass_tasks, pass);
}

/* In how many parts the panels of a block are dealt out: one where each thread has several blocks. */
static int64_t parts_of(int64_t count)
{
  uint32_t threads = 1;
  torch_get_num_threads(&threads);
  return threads == 1 || count >= 4 * BLOCK * (int64_t)threads ? 1 : threads;
}

/* What is given at the four places from `at` on: factors, zero, weights, scales and offsets; 0 where it does not fit. */
static int is_layer(const StableIValue* at, struct layer* found)
{
  *found = (struct layer){
      .factors = data_of(at[0]),
      .zero = (int32_t)at[1],
      .weights = data_of(at[2]),
      .scales = data_of(at[3]),
      .offsets = data_of(at[4]),
      .inputs = numbers_of(at[0]),
      .outputs = numbers_of(at[3])};
  int64_t inputs = found->inputs, outputs = found->outputs;
  return inputs > 0 && outputs > 0 && inputs <= MOST && outputs <= MOST && inputs % LANES == 0 &&
         outputs % PANEL == 0 && numbers_of(at[4]) == outputs && size_of(at[2], 0) == inputs * outputs;
}

/* Takes out and hidden, both of float32 and without gaps, and tells the rows; -1 where they do not fit. */
static int64_t rows_of(const StableIValue* stack, int64_t inputs, int64_t outputs)
{
  int64_t given = numbers_of(stack[1]), wanted = numbers_of(stack[0]);
  return given >= 0 && given % inputs == 0 && wanted == given / inputs * outputs ? given / inputs : -1;
}

static void end(StableIValue* stack, uint64_t inputs, int taken)
{
  for (uint64_t each = 0; each < inputs; each++)
    if (each % 5 != 3) aoti_torch_delete_tensor_object(tensor_of(stack[each]));
  stack[0] = (StableIValue)taken;
}

/* (out!, hidden, factors, zero, weights, scales, offsets) -> whether it was computed */
void multiplied(StableIValue* stack, uint64_t inputs, uint64_t outputs)
{
  (void)outputs;
  struct layer layer;
  int taken = is_layer(stack + 2, &layer);
  int64_t count = taken ? rows_of(stack, layer.inputs, layer.outputs) : -1;
  if (count >= 0)
    run(&(struct pass){
        .of = &layer,
        .count = count,
        .parts = parts_of(count),
        .rows = data_of(stack[1]),
        .to = {.out = data_of(stack[0]), .stride = layer.outputs}});
  end(stack, inputs, count >= 0);
}

/* (out!, hidden, then of both layers, a GELU between them, what (multiplied) takes) -> whether it was computed */
void fed_forward(StableIValue* stack, uint64_t inputs, uint64_t outputs)
{
  (void)outputs;
  struct layer first, second;
  int taken = is_layer(stack + 2, &first) && is_layer(stack + 7, &second) && first.outputs == second.inputs;
  int64_t count = taken ? rows_of(stack, first.inputs, second.outputs) : -1, parts = parts_of(count);
  struct target to = {.out = data_of(stack[0]), .stride = second.outputs};
  struct pass pass = {.of = &first, .count = count, .parts = parts, .rows = data_of(stack[1]), .to = to, .then = &second};
  uint8_t* between = NULL;
  if (count > 0 && parts > 1) {
    /* All threads are to find something in both layers. */
    between = malloc((size_t)(count * first.outputs));
    if (between == NULL) count = -1;
  }
  if (between != NULL) {
    pass.to = (struct target){NULL, between, first.outputs, second.factors, second.zero};
    pass.then = NULL;
    run(&pass);
    pass = (struct pass){.of = &second, .count = count, .parts = parts, .given = between, .to = to};
  }
  if (count > 0) run(&pass);
  free(between);
  end(stack, inputs, count >= 0);
}

#endif
