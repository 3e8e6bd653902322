/* The operators before what stands in for libtorch: random batches, a tenth of those asked for, each against the same in
 * double precision. Every tensor has exactly its size, so that a sanitizer sees what is read or written beside it. */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels.h"

int trident_register(void);

enum { WRONG = 1, INT8 = 1, INT64 = 4, FLOAT32 = 6, OTHER_DTYPE = 7, MOST_DIM = 256 };

struct AtenTensorOpaque {
  void* data;
  int64_t sizes[4], strides[4];
  int32_t dtype;
  bool gaps;
};

static long living;
static uint32_t cores;

AOTITorchError aoti_torch_get_data_ptr(AtenTensorHandle tensor, void** pointer) { return *pointer = tensor->data, 0; }
AOTITorchError aoti_torch_get_size(AtenTensorHandle tensor, int64_t dimension, int64_t* size)
{
  return *size = tensor->sizes[dimension], 0;
}
AOTITorchError aoti_torch_get_stride(AtenTensorHandle tensor, int64_t dimension, int64_t* stride)
{
  return *stride = tensor->strides[dimension], 0;
}
AOTITorchError aoti_torch_get_dtype(AtenTensorHandle tensor, int32_t* dtype) { return *dtype = tensor->dtype, 0; }
AOTITorchError aoti_torch_get_numel(AtenTensorHandle tensor, int64_t* count)
{
  return *count = tensor->sizes[0] * tensor->sizes[1] * tensor->sizes[2] * tensor->sizes[3], 0;
}
AOTITorchError aoti_torch_is_contiguous(AtenTensorHandle tensor, bool* contiguous)
{
  return *contiguous = !tensor->gaps, 0;
}
AOTITorchError torch_get_num_threads(uint32_t* threads) { return *threads = cores, 0; }
int32_t aoti_torch_dtype_float32(void) { return FLOAT32; }
int32_t aoti_torch_dtype_int64(void) { return INT64; }
AOTITorchError aoti_torch_delete_tensor_object(AtenTensorHandle tensor) { return free(tensor), living--, 0; }
AOTITorchError torch_parallel_for(
    int64_t begin, int64_t end, int64_t grain, void (*function)(int64_t, int64_t, void*), void* context)
{
  for (; begin < end; begin += grain) function(begin, begin + grain < end ? begin + grain : end, context);
  return 0;
}

static int definitions, implementations;
AOTITorchError aoti_torch_library_init_def(const char* name, const char* file, uint32_t line, TorchLibraryHandle* made)
{
  return (void)name, (void)file, (void)line, *made = NULL, 0;
}
AOTITorchError aoti_torch_library_init_impl(
    const char* name, const char* key, const char* file, uint32_t line, TorchLibraryHandle* made)
{
  return (void)name, (void)key, (void)file, (void)line, *made = NULL, 0;
}
AOTITorchError aoti_torch_library_def(TorchLibraryHandle library, const char* schema)
{
  return (void)library, (void)schema, definitions++, 0;
}
AOTITorchError aoti_torch_library_impl(
    TorchLibraryHandle library, const char* name, void (*function)(StableIValue*, uint64_t, uint64_t))
{
  return (void)library, (void)name, (void)function, implementations++, 0;
}

static void* array(int64_t count, size_t size)
{
  void* made = malloc(count > 0 ? (size_t)count * size : 1);
  if (made == NULL) exit(WRONG);
  return made;
}

static float* numbers(int64_t count)
{
  float* made = array(count, sizeof(float));
  for (int64_t each = 0; each < count; each++) made[each] = 4.0f * (float)rand() / (float)RAND_MAX - 2.0f;
  return made;
}

static StableIValue handle(void* data, int32_t dtype, const int64_t sizes[4], const int64_t strides[4])
{
  AtenTensorHandle made = array(1, sizeof(*made));
  living++;
  *made = (struct AtenTensorOpaque){.data = data, .dtype = dtype};
  for (int each = 0; each < 4; each++) made->sizes[each] = sizes[each], made->strides[each] = strides[each];
  return (StableIValue)(uintptr_t)made;
}

/* Rows of random widths, each filled by sequences up to a random place; returns the number of slots. */
static int64_t lay_out(int64_t** layout, int longest)
{
  int64_t table[3 * 3], blocks = rand() % 4, slots = 0, sequence = 0;
  for (int64_t block = 0; block < blocks; block++) {
    int64_t* facts = table + 3 * block;
    facts[0] = 1 + rand() % 3, facts[1] = 1 + rand() % longest, facts[2] = rand() % 2;
    slots += facts[0] * facts[1];
  }
  int64_t all = slots + rand() % 5, *made = array(1 + 3 * blocks + all, sizeof(int64_t)), *slot = made + 1 + 3 * blocks;
  made[0] = blocks;
  for (int64_t each = 0; each < 3 * blocks; each++) made[1 + each] = table[each];
  for (int64_t each = 0; each < all; each++) slot[each] = -1;
  for (int64_t block = 0; block < blocks; block++)
    for (int64_t row = 0; row < table[3 * block]; row++, slot += table[3 * block + 1]) {
      int64_t width = table[3 * block + 1], shared = table[3 * block + 2];
      for (int64_t from = 0; from < width;) {
        int64_t tokens = shared ? 1 + rand() % (width - from) : width;
        for (int64_t each = 0; each < tokens; each++) slot[from + each] = sequence;
        sequence++;
        from += tokens;
        if (shared && rand() % 3 == 0) break;
      }
    }
  *layout = made;
  return all;
}

/* The largest difference from the same in double precision, of real tokens; free slots must be 0. */
static double difference(const float* qkv, const float* out, const int64_t* layout, int64_t slots, int64_t heads,
                         int64_t dim, float scale, const float* bias)
{
  const int64_t *table = layout + 1, *holder = table + 3 * layout[0];
  double largest = 0, *weights = array(slots, sizeof(double));
  int64_t wide = heads * dim, start = 0, end = 0;
  for (int64_t block = 0; block <= layout[0]; block++, start = end) {
    int last = block == layout[0];
    int64_t rows = last ? 1 : table[3 * block], width = last ? slots - start : table[3 * block + 1];
    int64_t shared = last ? 1 : table[3 * block + 2];
    end = start + rows * width;
    for (int64_t head = 0; head < heads; head++)
      for (int64_t query = start; query < end; query++) {
        int64_t row = (query - start) / (width > 0 ? width : 1), place = start + row * width;
        double sum = 0;
        for (int64_t key = place; key < place + width; key++) {
          double product = 0;
          for (int64_t d = 0; d < dim; d++)
            product += (double)qkv[query * 3 * wide + head * dim + d] * qkv[key * 3 * wide + wide + head * dim + d];
          product *= scale;
          if (bias != NULL && !last)
            product += bias[((shared ? row : 0) * heads + head) * width * width + (query - place) * width + key - place];
          sum += weights[key] = holder[key] == holder[query] && holder[key] >= 0 ? exp(product) : 0;
        }
        for (int64_t d = 0; d < dim; d++) {
          double found = 0;
          for (int64_t key = place; key < place + width; key++)
            found += weights[key] * qkv[key * 3 * wide + 2 * wide + head * dim + d];
          double far = fabs((sum > 0 ? found / sum : 0) - out[query * wide + head * dim + d]);
          if (!(far <= largest)) largest = far;
        }
      }
    if (!last && bias != NULL) bias += (shared ? rows : 1) * heads * width * width;
  }
  free(weights);
  return largest;
}

static int try(int longest)
{
  static const int64_t dims[] = {1, 4, 8, 16, 20, 32, 33, 64, 100, 256, 257};
  int64_t *layout, slots = lay_out(&layout, longest), heads = 1 + rand() % 3, biases = 0;
  int64_t dim = dims[rand() % (sizeof(dims) / sizeof(*dims))], wide = heads * dim;
  for (int64_t block = 0; block < layout[0]; block++) {
    int64_t* facts = layout + 1 + 3 * block;
    biases += (facts[2] ? facts[0] : 1) * heads * facts[1] * facts[1];
  }
  float scale = 1.0f / sqrtf((float)dim), *qkv = numbers(slots * 3 * wide), *out = numbers(slots * wide);
  float* bias = rand() % 2 ? numbers(biases) : NULL;
  union {
    double number;
    StableIValue bits;
  } factor = {scale};
  int64_t sizes[4] = {1, heads, slots, dim}, strides[4] = {3 * wide * slots, dim, 3 * wide, 1}, whole[4] = {1, 1, 1, 1};
  int64_t out_sizes[4] = {1, slots, heads, dim}, out_strides[4] = {wide * slots, wide, dim, 1};
  int32_t dtype = rand() % 20 ? FLOAT32 : OTHER_DTYPE;
  StableIValue stack[7] = {
      handle(out, FLOAT32, out_sizes, out_strides),
      handle(qkv, FLOAT32, sizes, strides),
      handle(qkv + wide, dtype, sizes, strides),
      handle(qkv + 2 * wide, FLOAT32, sizes, strides),
      handle(layout, INT64, whole, whole),
      factor.bits};
  if (bias != NULL) stack[6] = handle(bias, FLOAT32, whole, whole);
  packed_attention(stack, bias == NULL ? 6 : 7, 1);
  int taken = stack[0] == 1, wanted = dtype == FLOAT32 && dim <= MOST_DIM;
  double far = taken ? difference(qkv, out, layout, slots, heads, dim, scale, bias) : 0;
  free(layout), free(qkv), free(out), free(bias);
  if (taken == wanted && far < 1e-5 && living == 0) return 1;
  fprintf(stderr, "%d heads of %d: taken %d of %d, off by %g, %ld handles are left\n", (int)heads, (int)dim, taken,
          wanted, far, living);
  return 0;
}

static StableIValue flat(void* data, int32_t dtype, int64_t count)
{
  const int64_t sizes[4] = {count, 1, 1, 1}, strides[4] = {1, 1, 1, 1};
  return handle(data, dtype, sizes, strides);
}

static int try_norm(void)
{
  int64_t rows = rand() % 40, columns = 1 + rand() % 70, wrong = rand() % 20 == 0, count = rows * columns;
  float *hidden = numbers(count), *residual = numbers(count), *weight = numbers(columns), *bias = numbers(columns);
  double *before = array(count, sizeof(double)), largest = 0;
  for (int64_t each = 0; each < count; each++) before[each] = (double)hidden[each] + residual[each];
  union {
    double number;
    StableIValue bits;
  } epsilon = {1e-5};
  StableIValue stack[5] = {
      flat(hidden, FLOAT32, count), flat(residual, FLOAT32, count + wrong), flat(weight, FLOAT32, columns),
      flat(bias, FLOAT32, columns), epsilon.bits};
  normalized_sum(stack, 5, 1);
  for (int64_t row = 0; stack[0] == 1 && row < rows; row++) {
    double mean = 0, square = 0;
    for (int64_t column = 0; column < columns; column++) mean += before[row * columns + column] / (double)columns;
    for (int64_t column = 0; column < columns; column++)
      square += pow(before[row * columns + column] - mean, 2) / (double)columns;
    for (int64_t column = 0; column < columns; column++) {
      double wanted = (before[row * columns + column] - mean) / sqrt(square + 1e-5) * weight[column] + bias[column];
      double far = fabs(wanted - hidden[row * columns + column]);
      if (!(far <= largest)) largest = far;
    }
  }
  free(hidden), free(residual), free(weight), free(bias), free(before);
  if (stack[0] == (StableIValue)!wrong && largest < 1e-4 && living == 0) return 1;
  fprintf(stderr, "%d rows of %d to normalize: taken %d, off by %g\n", (int)rows, (int)columns, (int)stack[0], largest);
  return 0;
}

#ifdef __AVX512VNNI__

struct layer {
  int64_t inputs, outputs;
  int32_t zero;
  float *factors, *scales, *offsets;
  int8_t *weights, *steps;
};

static struct layer layer(int64_t inputs, int64_t outputs)
{
  int64_t count = inputs * outputs;
  struct layer made = {inputs,           outputs,          rand() % 256,    numbers(inputs),
                       numbers(outputs), numbers(outputs), array(count, 1), array(count, 1)};
  for (int64_t each = 0; each < inputs; each++) made.factors[each] *= 20;
  for (int64_t each = 0; each < outputs; each++) made.scales[each] *= 1e-4f;
  for (int64_t each = 0; each < count; each++) {
    int64_t output = each / inputs, input = each % inputs;
    made.weights[each] = (int8_t)(rand() % 255 - 127);
    made.steps[output / 64 * 64 * inputs + input / 4 * 256 + output % 64 * 4 + input % 4] = made.weights[each];
  }
  return made;
}

static StableIValue* push(StableIValue* to, const struct layer* of)
{
  *to++ = flat(of->factors, FLOAT32, of->inputs);
  *to++ = (StableIValue)of->zero;
  *to++ = flat(of->steps, INT8, of->inputs * of->outputs);
  *to++ = flat(of->scales, FLOAT32, of->outputs);
  *to++ = flat(of->offsets, FLOAT32, of->outputs);
  return to;
}

static void pass(const struct layer* of, const double* given, double* answer)
{
  for (int64_t output = 0; output < of->outputs; output++) {
    double sum = 0;
    for (int64_t input = 0; input < of->inputs; input++) {
      float whole = rintf((float)given[input] * of->factors[input]) + (float)of->zero;
      sum += fmin(fmax(whole, 0), 255) * of->weights[output * of->inputs + input];
    }
    answer[output] = sum * of->scales[output] + of->offsets[output];
  }
}

static int try_layers(void)
{
  int two = rand() % 2, gaps = rand() % 20 == 0, wrong = rand() % 20 == 0;
  int64_t rows = rand() % 10 ? rand() % 30 : rand() % 1000, inputs = 16 * (1 + rand() % 8), right = 0;
  struct layer first = layer(inputs, 64 * (1 + rand() % 3)), second = layer(first.outputs, 64 * (1 + rand() % 3));
  const struct layer* last = two ? &second : &first;
  float *hidden = numbers(rows * inputs), *out = numbers(rows * last->outputs);
  StableIValue stack[12], *end = stack;
  *end++ = flat(out, FLOAT32, rows * last->outputs);
  *end++ = flat(hidden, FLOAT32, rows * inputs + wrong);
  ((AtenTensorHandle)(uintptr_t)stack[1])->gaps = gaps;
  end = push(end, &first);
  if (two) end = push(end, &second);
  cores = 1 + (uint32_t)rand() % 3;
  (two ? fed_forward : multiplied)(stack, (uint64_t)(end - stack), 1);
  double *given = array(inputs, sizeof(double)), *between = array(first.outputs, sizeof(double));
  double *answer = array(last->outputs, sizeof(double)), largest = 0;
  for (int64_t row = 0; stack[0] == 1 && row < rows; row++) {
    for (int64_t input = 0; input < inputs; input++) given[input] = hidden[row * inputs + input];
    pass(&first, given, two ? between : answer);
    for (int64_t each = 0; two && each < first.outputs; each++)
      between[each] *= (1 + erf(between[each] / sqrt(2))) / 2;
    if (two) pass(&second, between, answer);
    for (int64_t output = 0; output < last->outputs; output++) {
      /* What is at the edge of two whole numbers may become either. */
      double far = fabs(answer[output] - out[row * last->outputs + output]);
      double edge = 1e-5 * (1 + fabs(answer[output])) + 3 * 127 * fabs(last->scales[output]);
      if (!(far / edge <= largest)) largest = far / edge;
    }
  }
  right = stack[0] == (StableIValue)!(gaps || (wrong && inputs > 1)) && largest <= 1 && living == 0;
  if (!right)
    fprintf(stderr, "%d rows of %d: taken %d, %d edges off, %ld handles are left\n", (int)rows, (int)inputs,
            (int)stack[0], (int)largest, living);
  const struct layer layers[] = {first, second};
  for (int each = 0; each < 2; each++) {
    free(layers[each].factors), free(layers[each].scales), free(layers[each].offsets);
    free(layers[each].weights), free(layers[each].steps);
  }
  free(hidden), free(out), free(given), free(between), free(answer);
  return (int)right;
}
#endif

int main(int count, char** arguments)
{
  int batches = count > 1 ? atoi(arguments[1]) / 10 : 100, right = 0;
#ifdef __AVX512F__
  if (!__builtin_cpu_supports("avx512f")) return puts("not run: this processor has no AVX-512"), 0;
#endif
#ifdef __AVX512VNNI__
  if (!__builtin_cpu_supports("avx512vnni")) return puts("not run: this processor has no AVX512-VNNI"), 0;
#endif
  if (trident_register() != 0 || definitions != implementations) return WRONG;
  for (int batch = 0; batch < batches; batch++) right += try(batch % 8 ? 40 : 200);
  int norms = 0;
  for (int batch = 0; batch < batches; batch++) norms += try_norm();
  printf("%d of %d sums right\n", norms, batches);
  if (norms != batches) return WRONG;
#ifdef __AVX512VNNI__
  int layers = 0;
  for (int batch = 0; batch < batches; batch++) layers += try_layers();
  printf("%d of %d layers right\n", layers, batches);
  if (layers != batches) return WRONG;
#endif
  printf("%d of %d batches right in steps of %d\n", right, batches, LANES);
  return right == batches ? 0 : WRONG;
}
