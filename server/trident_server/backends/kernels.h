/* What the operators that kernels.c gives libtorch are written with: libtorch's interface, and vectors. */

#ifndef TRIDENT_KERNELS_H
#define TRIDENT_KERNELS_H

#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- libtorch's: torch/csrc/inductor/aoti_torch/c/shim.h and torch/csrc/stable/c/shim.h ---- */

typedef struct AtenTensorOpaque* AtenTensorHandle;
typedef struct TorchLibraryOpaque* TorchLibraryHandle;
typedef uint64_t StableIValue;
typedef int32_t AOTITorchError;

AOTITorchError aoti_torch_get_data_ptr(AtenTensorHandle tensor, void** pointer);
AOTITorchError aoti_torch_get_size(AtenTensorHandle tensor, int64_t dimension, int64_t* size);
AOTITorchError aoti_torch_get_numel(AtenTensorHandle tensor, int64_t* count);
AOTITorchError aoti_torch_is_contiguous(AtenTensorHandle tensor, bool* contiguous);
AOTITorchError aoti_torch_get_dtype(AtenTensorHandle tensor, int32_t* dtype);
int32_t aoti_torch_dtype_float32(void);
int32_t aoti_torch_dtype_int64(void);
AOTITorchError aoti_torch_get_stride(AtenTensorHandle tensor, int64_t dimension, int64_t* stride);
AOTITorchError aoti_torch_delete_tensor_object(AtenTensorHandle tensor);
AOTITorchError aoti_torch_library_init_def(const char* name, const char* file, uint32_t line, TorchLibraryHandle* made);
AOTITorchError aoti_torch_library_init_impl(
    const char* name, const char* key, const char* file, uint32_t line, TorchLibraryHandle* made);
AOTITorchError aoti_torch_library_def(TorchLibraryHandle library, const char* schema);
AOTITorchError aoti_torch_library_impl(
    TorchLibraryHandle library, const char* name, void (*function)(StableIValue*, uint64_t, uint64_t));
AOTITorchError torch_parallel_for(
    int64_t begin, int64_t end, int64_t grain, void (*function)(int64_t, int64_t, void*), void* context);
AOTITorchError torch_get_num_threads(uint32_t* threads);

/* ---- as many numbers at a time as the processor takes ---- */

#ifdef __AVX512F__
enum { LANES = 16, WIDEST = 4 };
#define COUNT {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15}
#else
enum { LANES = 8, WIDEST = 2 };
#define COUNT {0, 1, 2, 3, 4, 5, 6, 7}
#endif
typedef float lanes __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int32_t integers __attribute__((vector_size(4 * LANES), aligned(4)));

#define INLINE static inline __attribute__((always_inline))
#define EACH(index, end) _Pragma("GCC unroll 16") for (int index = 0; index < (end); index++)

INLINE lanes load(const float* from) { return *(const lanes*)from; }
INLINE void store(float* to, lanes value) { *(lanes*)to = value; }
INLINE lanes splat(float value) { return (lanes){0} + value; }
INLINE lanes choose(integers which, lanes one, lanes other)
{
  return (lanes)((which & (integers)one) | (~which & (integers)other));
}
INLINE lanes larger(lanes one, lanes other) { return choose(one > other, one, other); }

/* Every lane becomes what `join`, of `value` and `other`, makes of all of them. */
#define OF_ALL(value, join)                                       \
  _Pragma("GCC unroll 4") for (int far = 1; far < LANES; far *= 2) \
  {                                                               \
    lanes other = __builtin_shuffle(value, (integers)COUNT ^ far); \
    value = join;                                                 \
  }

/* e to the power of what is 0 or less, within 2 units in the last place; 0 below -87.
 * A power of 2 in two parts: the whole one is an exponent, the rest, within 0.5 of 0, a polynomial.
 * Source of the coefficients: Moshier, Cephes mathematical library, exp2f.c. */
INLINE lanes exponential(lanes power)
{
  const float shift = 12582912.0f; /* 1.5 * 2**23: what is added to it loses its fraction */
  lanes binary = larger(power, splat(-87.0f)) * 1.44269504f;
  lanes shifted = binary + shift;
  lanes rest = binary - (shifted - shift);
  lanes value = splat(1.535336188319500e-4f);
  value = value * rest + 1.339887440266574e-3f;
  value = value * rest + 9.618437357674640e-3f;
  value = value * rest + 5.550332471162809e-2f;
  value = value * rest + 2.402264791363012e-1f;
  value = value * rest + 6.931472028550421e-1f;
  value = value * rest + 1.0f;
  integers scaled = (integers)value + ((integers)shifted << 23);
  return (lanes)(scaled & (power > -87.0f));
}

/* ---- what an operator is given ---- */

INLINE AtenTensorHandle tensor_of(StableIValue value) { return (AtenTensorHandle)(uintptr_t)value; }

INLINE void* data_of(StableIValue value)
{
  void* data = NULL;
  aoti_torch_get_data_ptr(tensor_of(value), &data);
  return data;
}

INLINE int64_t size_of(StableIValue value, int64_t dimension)
{
  int64_t size = 0;
  aoti_torch_get_size(tensor_of(value), dimension, &size);
  return size;
}

INLINE int64_t stride_of(StableIValue value, int64_t dimension)
{
  int64_t stride = 0;
  aoti_torch_get_stride(tensor_of(value), dimension, &stride);
  return stride;
}

INLINE int32_t dtype_of(StableIValue value)
{
  int32_t dtype = -1;
  aoti_torch_get_dtype(tensor_of(value), &dtype);
  return dtype;
}

/* How many numbers a tensor without gaps has, of float32; -1 for any other. */
INLINE int64_t numbers_of(StableIValue value)
{
  bool contiguous = false;
  int64_t count = -1;
  aoti_torch_is_contiguous(tensor_of(value), &contiguous);
  if (contiguous && dtype_of(value) == aoti_torch_dtype_float32()) aoti_torch_get_numel(tensor_of(value), &count);
  return count;
}

INLINE float number_of(StableIValue value)
{
  union {
    StableIValue bits;
    double number;
  } both = {value};
  return (float)both.number;
}

/* The operators, as libtorch calls them: each takes its inputs from the stack, and leaves there whether it computed. */
void packed_attention(StableIValue* stack, uint64_t inputs, uint64_t outputs);
void normalized_sum(StableIValue* stack, uint64_t inputs, uint64_t outputs);
void multiplied(StableIValue* stack, uint64_t inputs, uint64_t outputs);
void fed_forward(StableIValue* stack, uint64_t inputs, uint64_t outputs);

#endif
