/* kernels.c before what stands in for libtorch: random batches, a tenth of those asked for, each against the same in double precision. Every tensor
 * has exactly its size, so that a sanitizer sees what is read or written beside it. */

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "kernels.c"

enum { MOST_SEQUENCES = 12, WRONG = 1, OTHER_DTYPE = 7, FLOAT32 = 6, INT64 = 4 };

struct AtenTensorOpaque {
  void* data;
  int64_t sizes[4], strides[4];
  int32_t dtype;
};

static long living;

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

int main(int count, char** arguments)
{
  int batches = count > 1 ? atoi(arguments[1]) / 10 : 100, right = 0;
#ifdef __AVX512F__
  if (!__builtin_cpu_supports("avx512f")) return puts("not run: this processor has no AVX-512"), 0;
#endif
  if (trident_register() != 0 || definitions != implementations) return WRONG;
  for (int batch = 0; batch < batches; batch++) right += try(batch % 8 ? 40 : 200);
  printf("%d of %d batches right in steps of %d\n", right, batches, LANES);
  return right == batches ? 0 : WRONG;
}
