/* Layer normalization of a sum, in one pass over the rows where the answer replaces the first summand. */

#include "kernels.h"

struct sum {
  float* rows;
  const float *residual, *weight, *bias;
  int64_t columns;
  float epsilon;
};

/* A row's columns from one on: as many as there are, 0 for what is missing. */
INLINE lanes load_up_to(const float* from, int64_t left)
{
  if (left >= LANES) return load(from);
  lanes value = {0};
  for (int64_t lane = 0; lane < left; lane++) value[lane] = from[lane];
  return value;
}

INLINE void store_up_to(float* to, lanes value, int64_t left)
{
  if (left >= LANES)
    store(to, value);
  else
    for (int64_t lane = 0; lane < left; lane++) to[lane] = value[lane];
}

#define EACH_VECTOR for (int64_t column = 0, left; left = of->columns - column, left > 0; column += LANES)

static void normalize(int64_t begin, int64_t end, void* sum)
{
  const struct sum* of = sum;
  const integers count = COUNT;
  for (int64_t row = begin; row < end; row++) {
    float* at = of->rows + row * of->columns;
    lanes mean = {0}, square = {0};
    EACH_VECTOR
    {
      lanes value = load_up_to(at + column, left) + load_up_to(of->residual + row * of->columns + column, left);
      mean += value;
      store_up_to(at + column, value, left);
    }
    OF_ALL(mean, mean + other)
    mean /= (float)of->columns;
    EACH_VECTOR
    {
      lanes value = load_up_to(at + column, left) - mean;
      if (left < LANES) value = choose(count < (int32_t)left, value, splat(0));
      square += value * value;
    }
    OF_ALL(square, square + other)
    float scale = 1.0f / sqrtf(square[0] / (float)of->columns + of->epsilon);
    EACH_VECTOR
    {
      lanes value = (load_up_to(at + column, left) - mean) * scale;
      value = value * load_up_to(of->weight + column, left) + load_up_to(of->bias + column, left);
      store_up_to(at + column, value, left);
    }
  }
}

/* (hidden!, residual, weight, bias, epsilon) -> whether it was computed */
void normalized_sum(StableIValue* stack, uint64_t inputs, uint64_t outputs)
{
  (void)outputs;
  enum { LEAST_ROWS = 32 };
  int64_t count = numbers_of(stack[0]), columns = numbers_of(stack[2]);
  int taken = count >= 0 && numbers_of(stack[1]) == count && columns > 0 && numbers_of(stack[3]) == columns &&
              count % columns == 0;
  if (taken) {
    struct sum sum = {
        .rows = data_of(stack[0]),
        .residual = data_of(stack[1]),
        .weight = data_of(stack[2]),
        .bias = data_of(stack[3]),
        .columns = columns,
        .epsilon = number_of(stack[4])};
    torch_parallel_for(0, count / columns, LEAST_ROWS, normalize, &sum);
  }
  for (uint64_t each = 0; each + 1 < inputs; each++) aoti_torch_delete_tensor_object(tensor_of(stack[each]));
  stack[0] = (StableIValue)taken;
}
