/* A backend of Triton's that is answered by this project's Python inside Triton's own process.
 *
 * A Python-based backend runs in a process of its own: every batch waits for two of them to wake up in turn, and every
 * tensor is copied into shared memory and out of it. This one starts an interpreter in Triton and calls a Python module
 * there, which reads Triton's memory where it lies. What a model may do is decided in Python alone, the same for both;
 * here is only what stands between Triton's interface and a method call.
 *
 * Compiled by trident_server.compilation, with
 *   PYTHON    the interpreter whose packages are used (its virtual environment's),
 *   LIBPYTHON its shared library, and
 *   MODULE    the Python module whose InProcessModel answers. */

#include "inprocess.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define MAX_DIMENSIONS 32

/* What was sent back is Triton's own doing where this fails, and nobody is left to be told. */
void forget(TRITONSERVER_Error* error)
{
  if (error != NULL) TRITONSERVER_ErrorDelete(error);
}

static uint64_t now_ns(void)
{
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

static void log_text(TRITONSERVER_LogLevel level, const char* text)
{
  forget(TRITONSERVER_LogMessage(level, "inprocess.c", __LINE__, text));
}

/* The GIL must be held, here and below wherever an object is named. */
TRITONSERVER_Error* python_error(void)
{
  PyObject *type, *value, *trace;
  PyErr_Fetch(&type, &value, &trace);
  PyErr_NormalizeException(&type, &value, &trace);
  PyObject* text = value == NULL ? NULL : PyObject_Str(value);
  const char* message = text == NULL ? NULL : PyUnicode_AsUTF8(text);
  TRITONSERVER_Error* error =
      TRITONSERVER_ErrorNew(TRITON_INTERNAL, message == NULL ? "an exception without a text" : message);
  PyErr_Clear();
  Py_XDECREF(text);
  Py_XDECREF(type);
  Py_XDECREF(value);
  Py_XDECREF(trace);
  return error;
}

/* ---- the interpreter ---- */

static TRITONSERVER_Error* start_python(void)
{
  if (Py_IsInitialized()) return NULL;
  /* Triton loads a backend's libraries for that backend alone; extension modules look for Python's symbols globally. */
  if (dlopen(LIBPYTHON, RTLD_NOW | RTLD_GLOBAL) == NULL) return TRITONSERVER_ErrorNew(TRITON_INTERNAL, dlerror());
  PyConfig config;
  PyConfig_InitPythonConfig(&config);
  config.install_signal_handlers = 0;
  config.parse_argv = 0;
  PyStatus status = PyConfig_SetBytesString(&config, &config.program_name, PYTHON);
  if (!PyStatus_Exception(status)) status = Py_InitializeFromConfig(&config);
  PyConfig_Clear(&config);
  if (PyStatus_Exception(status))
    return TRITONSERVER_ErrorNew(TRITON_INTERNAL, status.err_msg == NULL ? "Python did not start" : status.err_msg);
  PyEval_SaveThread();
  return NULL;
}

TRITONSERVER_Error* ENTRY(Initialize)(TRITONBACKEND_Backend* backend)
{
  (void)backend;
  uint32_t major, minor;
  TRY(TRITONBACKEND_ApiVersion(&major, &minor));
  if (major != TRITON_INTERFACE)
    return TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "this backend was made for interface 1 of Triton's backends");
  return start_python();
}

/* ---- one instance ---- */

/* Batches that workers of any model are answering: they share the cores. */
static atomic_int under_way = 0;

typedef struct Batch {
  struct Batch* next;
  uint64_t given;
  uint32_t count;
  TRITONBACKEND_Request* requests[];
} Batch;

struct Instance;

/* Threads that answer one batch after another, in the order of their coming. Guarded by the instance's lock. */
typedef struct {
  struct Instance* instance;
  pthread_t* threads;
  int thread_count;
  pthread_cond_t given;
  Batch* first;
  Batch** end;
  int under_way; /* batches that wait or are being answered */
} Line;

typedef struct Instance {
  TRITONBACKEND_ModelInstance* handle;
  PyObject* model;
  bool batching;
  long worker_count;  /* 0 where Triton's own thread answers */
  int64_t long_above; /* elements of an item of an input above which a request is long; 0 where none is */
  Line line;
  Line long_line; /* those that would keep all others waiting: one thread answers one after another */
  pthread_mutex_t lock;
  pthread_cond_t done; /* a thread is idle again */
  bool closing;
} Instance;

static void answer_batch(Instance* instance, Batch* batch, TRITONSERVER_Error* refusal);
static TRITONSERVER_Error* given_up(const Batch* batch);

static void add_to(Line* line, Batch* batch)
{
  batch->next = NULL;
  *line->end = batch;
  line->end = &batch->next;
  line->under_way++;
  pthread_cond_signal(&line->given);
}

static void* work(void* argument)
{
  Line* line = argument;
  Instance* instance = line->instance;
  pthread_mutex_lock(&instance->lock);
  for (;;) {
    while (line->first == NULL && !instance->closing) pthread_cond_wait(&line->given, &instance->lock);
    Batch* batch = line->first;
    if (batch == NULL) break;
    line->first = batch->next;
    if (line->first == NULL) line->end = &line->first;
    pthread_mutex_unlock(&instance->lock);
    answer_batch(instance, batch, line == &instance->long_line ? given_up(batch) : NULL);
    pthread_mutex_lock(&instance->lock);
    line->under_way--;
    pthread_cond_signal(&instance->done);
  }
  pthread_mutex_unlock(&instance->lock);
  return NULL;
}

/* Returns an attribute that is an integer or a bool, 0 where there is none. */
static long number_of(PyObject* model, const char* name)
{
  PyObject* value = PyObject_GetAttrString(model, name);
  const long number = value == NULL ? 0 : PyLong_AsLong(value);
  Py_XDECREF(value);
  PyErr_Clear();
  return number;
}

static TRITONSERVER_Error* load(Instance* instance, const char* config, size_t size, const char* folder,
                                uint64_t version, const char* kind, int32_t device)
{
  PyObject* module = PyImport_ImportModule(MODULE);
  PyObject* path = PyUnicode_FromFormat("%s/%llu", folder, (unsigned long long)version);
  if (module != NULL && path != NULL)
    instance->model = PyObject_CallMethod(
        module, "InProcessModel", "s#Osi", config, (Py_ssize_t)size, path, kind, (int)device);
  Py_XDECREF(path);
  Py_XDECREF(module);
  if (instance->model == NULL) return python_error();
  instance->batching = number_of(instance->model, "is_batching") != 0;
  instance->worker_count = number_of(instance->model, "workers");
  instance->long_above = number_of(instance->model, "long_above");
  PyObject* text = PyObject_Str(instance->model);
  const char* said = text == NULL ? NULL : PyUnicode_AsUTF8(text);
  if (said != NULL) log_text(TRITON_LOG_INFO, said);
  Py_XDECREF(text);
  PyErr_Clear();
  return NULL;
}

static TRITONSERVER_Error* start(Line* line, Instance* instance, long threads)
{
  line->instance = instance;
  line->end = &line->first;
  pthread_cond_init(&line->given, NULL);
  if (threads == 0) return NULL;
  line->threads = calloc((size_t)threads, sizeof(*line->threads));
  if (line->threads == NULL) return TRITONSERVER_ErrorNew(TRITON_INTERNAL, "out of memory");
  while (line->thread_count < threads &&
         pthread_create(&line->threads[line->thread_count], NULL, work, line) == 0)
    line->thread_count++;
  return line->thread_count > 0 ? NULL : TRITONSERVER_ErrorNew(TRITON_INTERNAL, "no thread can be started");
}

/* Lets the threads answer what they have been given, and waits for their end. */
static void close_lines(Instance* instance)
{
  Line* const lines[] = {&instance->line, &instance->long_line};
  pthread_mutex_lock(&instance->lock);
  instance->closing = true;
  for (int place = 0; place < 2; place++) pthread_cond_broadcast(&lines[place]->given);
  pthread_mutex_unlock(&instance->lock);
  for (int place = 0; place < 2; place++) {
    for (int number = 0; number < lines[place]->thread_count; number++)
      pthread_join(lines[place]->threads[number], NULL);
    free(lines[place]->threads);
  }
}

static void destroy(Instance* instance)
{
  PyGILState_STATE gil = PyGILState_Ensure();
  Py_XDECREF(instance->model);
  PyGILState_Release(gil);
  free(instance);
}

TRITONSERVER_Error* ENTRY(ModelInstanceInitialize)(TRITONBACKEND_ModelInstance* handle)
{
  TRITONBACKEND_Model* model;
  TRITONSERVER_InstanceGroupKind kind;
  int32_t device;
  TRITONBACKEND_ArtifactType type;
  const char* folder;
  uint64_t version;
  TRITONSERVER_Message* message;
  const char* config;
  size_t size;
  TRY(TRITONBACKEND_ModelInstanceModel(handle, &model));
  TRY(TRITONBACKEND_ModelInstanceKind(handle, &kind));
  TRY(TRITONBACKEND_ModelInstanceDeviceId(handle, &device));
  TRY(TRITONBACKEND_ModelRepository(model, &type, &folder));
  TRY(TRITONBACKEND_ModelVersion(model, &version));
  TRY(TRITONBACKEND_ModelConfig(model, 1, &message));
  Instance* instance = calloc(1, sizeof(Instance));
  if (instance == NULL) return TRITONSERVER_ErrorNew(TRITON_INTERNAL, "out of memory");
  instance->handle = handle;
  TRITONSERVER_Error* error = TRITONSERVER_MessageSerializeToJson(message, &config, &size);
  if (error == NULL) {
    PyGILState_STATE gil = PyGILState_Ensure();
    error = load(instance, config, size, folder, version, TRITONSERVER_InstanceGroupKindString(kind), device);
    PyGILState_Release(gil);
  }
  forget(TRITONSERVER_MessageDelete(message));
  if (error == NULL) {
    pthread_mutex_init(&instance->lock, NULL);
    pthread_cond_init(&instance->done, NULL);
    error = start(&instance->line, instance, instance->worker_count);
    if (error == NULL) error = start(&instance->long_line, instance, instance->long_above > 0 ? 1 : 0);
    if (error != NULL) close_lines(instance);
  }
  if (error != NULL) {
    destroy(instance);
    return error;
  }
  return TRITONBACKEND_ModelInstanceSetState(handle, instance);
}

/* Lets a model that has something to tidy up do so. */
static void finalize(PyObject* model)
{
  PyGILState_STATE gil = PyGILState_Ensure();
  if (PyObject_HasAttrString(model, "finalize")) {
    PyObject* nothing = PyObject_CallMethod(model, "finalize", NULL);
    if (nothing == NULL) forget(python_error());
    Py_XDECREF(nothing);
  }
  PyGILState_Release(gil);
}

TRITONSERVER_Error* ENTRY(ModelInstanceFinalize)(TRITONBACKEND_ModelInstance* handle)
{
  void* state;
  TRY(TRITONBACKEND_ModelInstanceState(handle, &state));
  /* Triton finalizes what could not be initialized, too. */
  if (state == NULL) return NULL;
  Instance* instance = state;
  close_lines(instance);
  finalize(instance->model);
  destroy(instance);
  return NULL;
}

static Batch* new_batch(uint32_t most)
{
  Batch* batch = malloc(sizeof(Batch) + most * sizeof(TRITONBACKEND_Request*));
  if (batch == NULL) return NULL;
  batch->given = now_ns();
  batch->count = 0;
  return batch;
}

/* Returns how many elements an item of an input has: of what is batched, the first dimension counts items. */
static int64_t elements_of(TRITONBACKEND_Request* request, uint32_t index, bool batched)
{
  TRITONBACKEND_Input* input;
  const char* name;
  TRITONSERVER_DataType type;
  const int64_t* dimensions;
  uint32_t rank, pieces;
  uint64_t bytes;
  TRITONSERVER_Error* error = TRITONBACKEND_RequestInputByIndex(request, index, &input);
  if (error == NULL) error = TRITONBACKEND_InputProperties(input, &name, &type, &dimensions, &rank, &bytes, &pieces);
  int64_t elements = error == NULL ? 1 : 0;
  for (uint32_t place = batched; error == NULL && place < rank; place++) elements *= dimensions[place];
  forget(error);
  return elements;
}

static bool is_long(const Instance* instance, TRITONBACKEND_Request* request)
{
  uint32_t count = 0;
  if (instance->long_above == 0) return false;
  forget(TRITONBACKEND_RequestInputCount(request, &count));
  for (uint32_t index = 0; index < count; index++)
    if (elements_of(request, index, instance->batching) > instance->long_above) return true;
  return false;
}

/* Hands the batch to a worker and returns as soon as another could take the next one: until then, Triton collects. Those
 * of its requests that are long go to their own line: who is joined with them would be answered when they are. */
TRITONSERVER_Error* ENTRY(ModelInstanceExecute)(TRITONBACKEND_ModelInstance* handle,
                                                TRITONBACKEND_Request** requests, const uint32_t count)
{
  void* state;
  TRY(TRITONBACKEND_ModelInstanceState(handle, &state));
  Instance* instance = state;
  Batch* batch = new_batch(count);
  if (batch == NULL) return TRITONSERVER_ErrorNew(TRITON_INTERNAL, "out of memory");
  for (uint32_t place = 0; place < count; place++) {
    Batch* alone = is_long(instance, requests[place]) ? new_batch(1) : NULL;
    Batch* taking = alone == NULL ? batch : alone;
    taking->requests[taking->count++] = requests[place];
    if (alone == NULL) continue;
    pthread_mutex_lock(&instance->lock);
    add_to(&instance->long_line, alone);
    pthread_mutex_unlock(&instance->lock);
  }
  if (batch->count == 0) {
    free(batch);
    return NULL;
  }
  if (instance->worker_count == 0) {
    answer_batch(instance, batch, NULL);
    return NULL;
  }
  pthread_mutex_lock(&instance->lock);
  add_to(&instance->line, batch);
  while (instance->line.under_way >= instance->line.thread_count)
    pthread_cond_wait(&instance->done, &instance->lock);
  pthread_mutex_unlock(&instance->lock);
  return NULL;
}

/* Returns what is to be said where nobody waits for a batch of one request any more, NULL where somebody may. */
static TRITONSERVER_Error* given_up(const Batch* batch)
{
  bool cancelled = false;
  uint64_t microseconds = 0; /* 0 where the request does not say how long it may wait */
  forget(TRITONBACKEND_RequestIsCancelled(batch->requests[0], &cancelled));
  if (cancelled) return TRITONSERVER_ErrorNew(TRITON_CANCELLED, "the request was cancelled");
  forget(TRITONBACKEND_InferenceRequestTimeoutMicroseconds(batch->requests[0], &microseconds));
  if (microseconds == 0 || (now_ns() - batch->given) / 1000 <= microseconds) return NULL;
  return TRITONSERVER_ErrorNew(TRITON_UNAVAILABLE, "Request timeout expired"); /* in Triton's words */
}

/* ---- requests ---- */

static TRITONSERVER_Error* add_pieces(TRITONBACKEND_Input* input, uint32_t count, PyObject* pieces)
{
  for (uint32_t index = 0; index < count; index++) {
    const void* buffer;
    uint64_t bytes;
    TRITONSERVER_MemoryType memory = TRITON_MEMORY_CPU;
    int64_t memory_id = 0;
    TRY(TRITONBACKEND_InputBuffer(input, index, &buffer, &bytes, &memory, &memory_id));
    if (memory != TRITON_MEMORY_CPU && memory != TRITON_MEMORY_CPU_PINNED)
      return TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "a model in Triton's process takes inputs in the host's memory only");
    /* Of NULL, where an empty tensor may lie, there is no view. A model may write to what it is given. */
    static char nothing[1];
    PyObject* view = PyMemoryView_FromMemory(bytes == 0 ? nothing : (char*)buffer, (Py_ssize_t)bytes, PyBUF_WRITE);
    int failed = view == NULL || PyList_Append(pieces, view) < 0;
    Py_XDECREF(view);
    if (failed) return python_error();
  }
  return NULL;
}

/* Adds {name: (type, shape, pieces)} to the inputs of a request; the first dimension goes to *items. */
static TRITONSERVER_Error* add_input(TRITONBACKEND_Input* input, PyObject* inputs, uint64_t* items)
{
  const char* name;
  TRITONSERVER_DataType type;
  const int64_t* dimensions;
  uint32_t rank, pieces_count;
  uint64_t bytes;
  TRY(TRITONBACKEND_InputProperties(input, &name, &type, &dimensions, &rank, &bytes, &pieces_count));
  PyObject* shape = PyTuple_New(rank);
  PyObject* pieces = PyList_New(0);
  int failed = shape == NULL || pieces == NULL;
  for (uint32_t place = 0; !failed && place < rank; place++) {
    PyObject* size = PyLong_FromLongLong(dimensions[place]);
    failed = size == NULL;
    if (!failed) PyTuple_SET_ITEM(shape, place, size);
  }
  TRITONSERVER_Error* error = failed ? python_error() : add_pieces(input, pieces_count, pieces);
  if (error == NULL) {
    PyObject* tensor = Py_BuildValue("(sOO)", TRITONSERVER_DataTypeString(type), shape, pieces);
    if (tensor == NULL || PyDict_SetItemString(inputs, name, tensor) < 0) error = python_error();
    Py_XDECREF(tensor);
  }
  Py_XDECREF(shape);
  Py_XDECREF(pieces);
  *items = rank == 0 ? 1 : (uint64_t)dimensions[0];
  return error;
}

static TRITONSERVER_Error* inputs_of(TRITONBACKEND_Request* request, PyObject* inputs, uint64_t* items)
{
  uint32_t count;
  TRY(TRITONBACKEND_RequestInputCount(request, &count));
  for (uint32_t index = 0; index < count; index++) {
    TRITONBACKEND_Input* input;
    TRY(TRITONBACKEND_RequestInputByIndex(request, index, &input));
    TRY(add_input(input, inputs, items));
  }
  return NULL;
}

/* Returns the answers of all requests as a new list, or NULL and an error; the batch's items go to *items. */
static PyObject* answers_of(Instance* instance, const Batch* batch, int company, uint64_t* items, TRITONSERVER_Error** error)
{
  PyObject* list = PyList_New(0);
  *items = 0;
  *error = list == NULL ? python_error() : NULL;
  for (uint32_t place = 0; *error == NULL && place < batch->count; place++) {
    PyObject* inputs = PyDict_New();
    uint64_t own = 1;
    if (inputs == NULL || PyList_Append(list, inputs) < 0)
      *error = python_error();
    else
      *error = inputs_of(batch->requests[place], inputs, &own);
    *items += instance->batching ? own : 1;
    Py_XDECREF(inputs);
  }
  PyObject* answers = *error == NULL ? PyObject_CallMethod(instance->model, "execute", "Oi", list, company) : NULL;
  Py_XDECREF(list);
  if (*error == NULL && answers == NULL) *error = python_error();
  return answers;
}

/* ---- responses ---- */

static bool is_wanted(TRITONBACKEND_Request* request, uint32_t count, const char* name)
{
  for (uint32_t index = 0; index < count; index++) {
    const char* wanted;
    TRITONSERVER_Error* error = TRITONBACKEND_RequestOutputName(request, index, &wanted);
    forget(error);
    if (error == NULL && strcmp(wanted, name) == 0) return true;
  }
  return false;
}

/* What is to be sent under a name, or kept for a sequence. */
typedef struct {
  const char* name;
  const char* type;
  int64_t dimensions[MAX_DIMENSIONS];
  uint32_t rank;
  Py_buffer content;
} Tensor;

static TRITONSERVER_Error* only_on_host(TRITONSERVER_MemoryType memory)
{
  if (memory == TRITON_MEMORY_CPU || memory == TRITON_MEMORY_CPU_PINNED) return NULL;
  return TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "a model in Triton's process gives outputs in the host's memory only");
}

static TRITONSERVER_Error* add_output(TRITONBACKEND_Response* response, Tensor* tensor)
{
  TRITONBACKEND_Output* output;
  TRY(TRITONBACKEND_ResponseOutput(response, &output, tensor->name, TRITONSERVER_StringToDataType(tensor->type),
                                   tensor->dimensions, tensor->rank));
  void* buffer;
  TRITONSERVER_MemoryType memory = TRITON_MEMORY_CPU;
  int64_t memory_id = 0;
  TRY(TRITONBACKEND_OutputBuffer(output, &buffer, (uint64_t)tensor->content.len, &memory, &memory_id));
  TRY(only_on_host(memory));
  if (tensor->content.len > 0) memcpy(buffer, tensor->content.buf, (size_t)tensor->content.len);
  return NULL;
}

static TRITONSERVER_Error* keep_state(TRITONBACKEND_Request* request, Tensor* tensor)
{
  TRITONBACKEND_State* state;
  TRY(TRITONBACKEND_StateNew(&state, request, tensor->name, TRITONSERVER_StringToDataType(tensor->type),
                             tensor->dimensions, tensor->rank));
  void* buffer;
  TRITONSERVER_MemoryType memory = TRITON_MEMORY_CPU;
  int64_t memory_id = 0;
  TRY(TRITONBACKEND_StateBuffer(state, &buffer, (uint64_t)tensor->content.len, &memory, &memory_id));
  TRY(only_on_host(memory));
  if (tensor->content.len > 0) memcpy(buffer, tensor->content.buf, (size_t)tensor->content.len);
  return TRITONBACKEND_StateUpdate(state);
}

/* Reads (name, type, shape, content), behind which a state has a mark. The content is the caller's to release. */
static TRITONSERVER_Error* read_tensor(PyObject* given, Tensor* tensor, int* is_state)
{
  PyObject *shape, *content;
  *is_state = 0;
  if (!PyArg_ParseTuple(given, "ssO!O|p", &tensor->name, &tensor->type, &PyTuple_Type, &shape, &content, is_state))
    return python_error();
  Py_ssize_t rank = PyTuple_Size(shape);
  if (rank > MAX_DIMENSIONS) return TRITONSERVER_ErrorNew(TRITON_INVALID_ARG, "an output has more than 32 dimensions");
  for (Py_ssize_t place = 0; place < rank; place++)
    tensor->dimensions[place] = PyLong_AsLongLong(PyTuple_GET_ITEM(shape, place));
  tensor->rank = (uint32_t)rank;
  return PyObject_GetBuffer(content, &tensor->content, PyBUF_C_CONTIGUOUS) < 0 ? python_error() : NULL;
}

static TRITONSERVER_Error* error_of(PyObject* failure)
{
  /* Each at the place that is its number. */
  static const char* const codes[] = {"UNKNOWN",     "INTERNAL",    "NOT_FOUND",      "INVALID_ARG",
                                      "UNAVAILABLE", "UNSUPPORTED", "ALREADY_EXISTS", "CANCELLED"};
  const char *code, *message;
  Py_ssize_t size; /* Triton takes a message up to its first NUL, which there may be. */
  if (!PyArg_ParseTuple(failure, "ss#", &code, &message, &size)) return python_error();
  for (size_t number = 0; number < sizeof(codes) / sizeof(*codes); number++)
    if (strcmp(code, codes[number]) == 0) return TRITONSERVER_ErrorNew((TRITONSERVER_Error_Code)number, message);
  return TRITONSERVER_ErrorNew(TRITON_INTERNAL, message);
}

/* Fills a response with what its request asked for and keeps its sequence's state; the error, where there is one, is what is sent in its place. */
static TRITONSERVER_Error* fill(TRITONBACKEND_Response* response, TRITONBACKEND_Request* request, PyObject* answer)
{
  if (PyTuple_Check(answer)) return error_of(answer);
  uint32_t wanted;
  TRY(TRITONBACKEND_RequestOutputCount(request, &wanted));
  for (Py_ssize_t place = 0; place < PyList_Size(answer); place++) {
    Tensor tensor;
    int is_state;
    TRY(read_tensor(PyList_GET_ITEM(answer, place), &tensor, &is_state));
    TRITONSERVER_Error* error = NULL;
    if (is_state)
      error = keep_state(request, &tensor);
    else if (is_wanted(request, wanted, tensor.name))
      error = add_output(response, &tensor);
    PyBuffer_Release(&tensor.content);
    TRY(error);
  }
  return NULL;
}

/* One request of a batch, from its answer on. */
typedef struct {
  TRITONBACKEND_Request* request;
  TRITONBACKEND_Response* response;
  TRITONSERVER_Error* error;
} Reply;

/* Answers all requests and frees the batch; with the refusal, which is deleted, where there is one. */
static void answer_batch(Instance* instance, Batch* batch, TRITONSERVER_Error* refusal)
{
  const uint64_t start = now_ns();
  Reply replies[batch->count];
  PyGILState_STATE gil = PyGILState_Ensure();
  uint64_t items = batch->count;
  TRITONSERVER_Error* whole = refusal;
  const int company = atomic_fetch_add(&under_way, 1) + 1;
  const uint64_t compute_start = now_ns();
  PyObject* answers = refusal == NULL ? answers_of(instance, batch, company, &items, &whole) : NULL;
  const uint64_t compute_end = now_ns();
  atomic_fetch_sub(&under_way, 1);
  for (uint32_t place = 0; place < batch->count; place++) {
    Reply* reply = &replies[place];
    reply->request = batch->requests[place];
    reply->response = NULL;
    reply->error = TRITONBACKEND_ResponseNew(&reply->response, reply->request);
    if (reply->error == NULL)
      reply->error = whole == NULL
                         ? fill(reply->response, reply->request, PyList_GetItem(answers, place))
                         : TRITONSERVER_ErrorNew(TRITONSERVER_ErrorCode(whole), TRITONSERVER_ErrorMessage(whole));
  }
  Py_XDECREF(answers);
  PyGILState_Release(gil);
  forget(whole);

  for (uint32_t place = 0; place < batch->count; place++) {
    Reply* reply = &replies[place];
    const bool answered = reply->error == NULL;
    if (reply->response != NULL)
      forget(TRITONBACKEND_ResponseSend(reply->response, TRITON_RESPONSE_FINAL, reply->error));
    forget(reply->error);
    forget(TRITONBACKEND_ModelInstanceReportStatistics(
        instance->handle, reply->request, answered, start, compute_start, compute_end, now_ns()));
  }
  forget(TRITONBACKEND_ModelInstanceReportBatchStatistics(
      instance->handle, items, start, compute_start, compute_end, now_ns()));
  /* Last: with its last request, a model that is being unloaded goes. */
  for (uint32_t place = 0; place < batch->count; place++)
    forget(TRITONBACKEND_RequestRelease(replies[place].request, TRITON_RELEASE_ALL));
  free(batch);
}
