/* A backend that hosts some of its models in Triton's process (inprocess.c) and leaves all others to another library.
 *
 * Compiled with inprocess.c, and with
 *   DELEGATE the other library's file name, beside this one's, and
 *   MODULE   the Python module whose is_hosted says of a configuration whether its model is hosted. */

#include "inprocess.h"

#include <dlfcn.h>
#include <limits.h>
#include <stdio.h>

static void* library = NULL;
/* Its address is the state of every hosted model; the other library gives its models states of its own. */
static char hosted_mark;

/* The other library's function of the same name. */
#define DELEGATED(name) ((__typeof__(&TRITONBACKEND_##name))dlsym(library, "TRITONBACKEND_" #name))

static TRITONSERVER_Error* open_library(TRITONBACKEND_Backend* backend)
{
  static const char* const functions[] = {
      "TRITONBACKEND_Initialize",          "TRITONBACKEND_Finalize",
      "TRITONBACKEND_GetBackendAttribute", "TRITONBACKEND_ModelInitialize",
      "TRITONBACKEND_ModelFinalize",       "TRITONBACKEND_ModelInstanceInitialize",
      "TRITONBACKEND_ModelInstanceFinalize", "TRITONBACKEND_ModelInstanceExecute"};
  if (library != NULL) return NULL;
  TRITONBACKEND_ArtifactType type;
  const char* folder;
  TRY(TRITONBACKEND_BackendArtifacts(backend, &type, &folder));
  char path[PATH_MAX];
  snprintf(path, sizeof(path), "%s/%s", folder, DELEGATE);
  void* opened = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (opened == NULL) return TRITONSERVER_ErrorNew(TRITON_INTERNAL, dlerror());
  for (size_t place = 0; place < sizeof(functions) / sizeof(*functions); place++)
    if (dlsym(opened, functions[place]) == NULL) {
      TRITONSERVER_Error* error = TRITONSERVER_ErrorNew(TRITON_INTERNAL, dlerror());
      dlclose(opened);
      return error;
    }
  library = opened;
  return NULL;
}

/* ---- the backend ---- */

TRITONSERVER_Error* TRITONBACKEND_Initialize(TRITONBACKEND_Backend* backend)
{
  TRY(hosted_Initialize(backend));
  TRY(open_library(backend));
  return DELEGATED(Initialize)(backend);
}

TRITONSERVER_Error* TRITONBACKEND_Finalize(TRITONBACKEND_Backend* backend)
{
  return library == NULL ? NULL : DELEGATED(Finalize)(backend);
}

TRITONSERVER_Error* TRITONBACKEND_GetBackendAttribute(
    TRITONBACKEND_Backend* backend, TRITONBACKEND_BackendAttribute* attribute)
{
  TRY(open_library(backend));
  return DELEGATED(GetBackendAttribute)(backend, attribute);
}

/* ---- models ---- */

static TRITONSERVER_Error* ask(const char* config, size_t size, bool* hosted)
{
  PyObject* module = PyImport_ImportModule(MODULE);
  PyObject* answer =
      module == NULL ? NULL : PyObject_CallMethod(module, "is_hosted", "s#", config, (Py_ssize_t)size);
  TRITONSERVER_Error* error = answer == NULL ? python_error() : NULL;
  *hosted = answer == Py_True;
  Py_XDECREF(answer);
  Py_XDECREF(module);
  return error;
}

static TRITONSERVER_Error* ask_of(TRITONBACKEND_Model* model, bool* hosted)
{
  TRITONSERVER_Message* message;
  const char* config;
  size_t size;
  TRY(TRITONBACKEND_ModelConfig(model, 1, &message));
  TRITONSERVER_Error* error = TRITONSERVER_MessageSerializeToJson(message, &config, &size);
  if (error == NULL) {
    PyGILState_STATE gil = PyGILState_Ensure();
    error = ask(config, size, hosted);
    PyGILState_Release(gil);
  }
  forget(TRITONSERVER_MessageDelete(message));
  return error;
}

/* Whose states are unknown, neither side is given: it would read the other's as its own. */
static TRITONSERVER_Error* find_out(TRITONBACKEND_Model* model, bool* hosted)
{
  void* state;
  TRY(TRITONBACKEND_ModelState(model, &state));
  *hosted = state == &hosted_mark;
  return NULL;
}

static TRITONSERVER_Error* find_out_of(TRITONBACKEND_ModelInstance* instance, bool* hosted)
{
  TRITONBACKEND_Model* model;
  TRY(TRITONBACKEND_ModelInstanceModel(instance, &model));
  return find_out(model, hosted);
}

TRITONSERVER_Error* TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model* model)
{
  bool hosted = false;
  TRITONSERVER_Error* error = ask_of(model, &hosted);
  if (error == NULL && !hosted) return DELEGATED(ModelInitialize)(model);
  /* Triton finalizes what could not be initialized, too; the other library has not heard of it. */
  forget(TRITONBACKEND_ModelSetState(model, &hosted_mark));
  return error;
}

TRITONSERVER_Error* TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model* model)
{
  bool hosted;
  TRY(find_out(model, &hosted));
  return hosted ? NULL : DELEGATED(ModelFinalize)(model);
}

/* ---- instances ---- */

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance* instance)
{
  bool hosted;
  TRY(find_out_of(instance, &hosted));
  return hosted ? hosted_ModelInstanceInitialize(instance) : DELEGATED(ModelInstanceInitialize)(instance);
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance* instance)
{
  bool hosted;
  TRY(find_out_of(instance, &hosted));
  return hosted ? hosted_ModelInstanceFinalize(instance) : DELEGATED(ModelInstanceFinalize)(instance);
}

TRITONSERVER_Error* TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance* instance,
                                                       TRITONBACKEND_Request** requests, const uint32_t count)
{
  bool hosted;
  TRY(find_out_of(instance, &hosted));
  return hosted ? hosted_ModelInstanceExecute(instance, requests, count)
                : DELEGATED(ModelInstanceExecute)(instance, requests, count);
}
