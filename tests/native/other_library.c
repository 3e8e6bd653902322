/* The library that delegate.c leaves models to, before harness.c: says what it hears of, and keeps a state of each model
 * and instance. Without its last function it is one that delegate.c refuses. */

#include <stdlib.h>

#include "triton_api.h"

/* The harness's. */
void harness_heard(int function, const TRITONBACKEND_Model* model);
const TRITONBACKEND_Model* harness_model_of(const TRITONBACKEND_ModelInstance* instance);
void** harness_state_of(TRITONBACKEND_ModelInstance* instance);
TRITONSERVER_Error* harness_maybe(void);
void harness_lives(long by);

static TRITONSERVER_Error* make(void** state)
{
  TRITONSERVER_Error* error = harness_maybe();
  if (error != NULL) return error;
  *state = malloc(8);
  harness_lives(1);
  return NULL;
}

/* Also of what could not be initialized. */
static void drop(void* state)
{
  if (state != NULL) harness_lives(-1);
  free(state);
}

TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* backend)
{
  (void)backend;
  harness_heard(0, NULL);
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_Finalize(TRITONBACKEND_Backend* backend)
{
  (void)backend;
  harness_heard(1, NULL);
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(
    TRITONBACKEND_Backend* backend, TRITONBACKEND_BackendAttribute* attribute)
{
  (void)backend, (void)attribute;
  harness_heard(2, NULL);
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model)
{
  void* state;
  harness_heard(3, model);
  TRITONSERVER_Error* error = make(&state);
  return error == NULL ? TRITONBACKEND_ModelSetState(model, state) : error;
}
TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model)
{
  void* state;
  harness_heard(4, model);
  TRITONSERVER_Error* error = TRITONBACKEND_ModelState(model, &state);
  if (error == NULL) drop(state);
  return error;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* instance)
{
  harness_heard(5, harness_model_of(instance));
  return make(harness_state_of(instance));
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* instance)
{
  harness_heard(6, harness_model_of(instance));
  drop(*harness_state_of(instance));
  return NULL;
}
#ifndef INCOMPLETE
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request** requests, const uint32_t count)
{
  harness_heard(7, harness_model_of(instance));
  TRITONSERVER_Error* error = harness_maybe();
  for (uint32_t place = 0; error == NULL && place < count; place++)
    (void)TRITONBACKEND_RequestRelease(requests[place], TRITON_RELEASE_ALL);
  return error;
}
#endif
