/* Operators of libtorch's namespace "trident", which trident_server.backends.pytorch.kernels puts into a module's graph
 * at load: what an exported network computes sooner than by libtorch's own. Of libtorch they need its stable interface
 * for C alone. */

#include "kernels.h"

/* Makes the operators known to libtorch, once a process; returns 0 unless it refuses one. */
int trident_register(void)
{
#define ATTENTION "(Tensor(a!) out, Tensor query, Tensor key, Tensor value, Tensor layout, float scale"
#define LAYER "Tensor factors, int zero, Tensor weights, Tensor scales, Tensor offsets"
  static const struct {
    const char *name, *schema;
    void (*function)(StableIValue*, uint64_t, uint64_t);
  } operators[] = {
      {"packed_attention", "packed_attention" ATTENTION ") -> bool", packed_attention},
      {"packed_attention.biased", "packed_attention.biased" ATTENTION ", Tensor bias) -> bool", packed_attention},
      {"normalized_sum",
       "normalized_sum(Tensor(a!) hidden, Tensor residual, Tensor weight, Tensor bias, float epsilon) -> bool",
       normalized_sum},
#ifdef __AVX512VNNI__
      {"multiplied", "multiplied(Tensor(a!) out, Tensor hidden, " LAYER ") -> bool", multiplied},
      {"fed_forward",
       "fed_forward(Tensor(a!) out, Tensor hidden, " LAYER ", Tensor then_factors, int then_zero, Tensor then_weights, "
       "Tensor then_scales, Tensor then_offsets) -> bool",
       fed_forward},
#endif
  };
  TorchLibraryHandle definitions, kernels;
  if (aoti_torch_library_init_def("trident", __FILE__, __LINE__, &definitions) ||
      aoti_torch_library_init_impl("trident", "CPU", __FILE__, __LINE__, &kernels))
    return 1;
  for (size_t each = 0; each < sizeof(operators) / sizeof(*operators); each++)
    if (aoti_torch_library_def(definitions, operators[each].schema) ||
        aoti_torch_library_impl(kernels, operators[each].name, operators[each].function))
      return 1;
  return 0;
}
