/* What inprocess.c offers to delegate.c. */

#ifndef TRIDENT_INPROCESS_H
#define TRIDENT_INPROCESS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "triton_api.h"

/* With a delegate it is delegate.c that Triton calls. */
#ifdef DELEGATE
#define ENTRY(name) hosted_##name
#else
#define ENTRY(name) TRITONBACKEND_##name
#endif

#define TRY(call)                                    \
  do {                                               \
    TRITONSERVER_Error* error_ = (call);             \
    if (error_ != NULL) return error_;               \
  } while (0)

/* Deletes an error that nobody is to be told, if it is one. */
void forget(TRITONSERVER_Error* error);

/* Returns the pending Python exception as Triton's error and clears it. The GIL must be held. */
TRITONSERVER_Error* python_error(void);

TRITONSERVER_Error* ENTRY(Initialize)(TRITONBACKEND_Backend* backend);
TRITONSERVER_Error* ENTRY(ModelInstanceInitialize)(TRITONBACKEND_ModelInstance* handle);
TRITONSERVER_Error* ENTRY(ModelInstanceFinalize)(TRITONBACKEND_ModelInstance* handle);
TRITONSERVER_Error* ENTRY(ModelInstanceExecute)(
    TRITONBACKEND_ModelInstance* handle, TRITONBACKEND_Request** requests, const uint32_t count);

#endif
