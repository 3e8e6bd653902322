/* Stands in for Triton before inprocess.c, so that its C runs under sanitizers: counts what is made and released, and
 * fails any one of the calls that inprocess.c makes.
 *
 *   harness REQUESTS     answers so many requests, every place where a call can fail, and short ones beside long ones; 0
 *                        when all is as it should be
 *
 * Linked with inprocess.c by scripts/sanitize.py; the model is model_in_harness.py. */

#include "inprocess.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define PIECES 3
#define MOST_IN_BATCH 5
#define GROWTH_BYTES (64 * 1024)
#define LONG_ELEMENTS 2000 /* more than the model says */
#define LONG 4
#define SHORT 3

/* Of the sanitizer's own, where it has it. */
__attribute__((weak)) size_t __sanitizer_get_current_allocated_bytes(void);

struct TRITONSERVER_Error {
  TRITONSERVER_Error_Code code;
  char* text;
};
struct TRITONSERVER_Message {
  int unused;
};
struct TRITONBACKEND_Input {
  const char* name;
  const char* type;
  int64_t shape[2];
  char* content;
  uint64_t bytes;
  uint32_t pieces;
  TRITONSERVER_MemoryType memory;
};
struct TRITONBACKEND_Request {
  TRITONBACKEND_Input inputs[2];
  int number;
  bool cancelled;
  uint64_t timeout;
};
struct TRITONBACKEND_Output {
  char* content;
};
struct TRITONBACKEND_State {
  char* content;
};
struct TRITONBACKEND_Response {
  TRITONBACKEND_Request* request;
  TRITONBACKEND_Output output;
  uint64_t bytes;
};
struct TRITONBACKEND_ModelInstance {
  void* state;
  int workers;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long errors_alive, messages_alive, responses_alive, requests_alive, calls, fail_at = -1, failed_calls, wrong;
static long answered, refused;
/* Numbers of the requests in the order in which they were answered, those refused as their negative. */
static int order[LONG + SHORT];
static int ordered;
static pthread_cond_t was_answered = PTHREAD_COND_INITIALIZER;

static void count(long* what, long by)
{
  pthread_mutex_lock(&lock);
  *what += by;
  pthread_mutex_unlock(&lock);
}

TRITONSERVER_Error* TRITONSERVER_ErrorNew(TRITONSERVER_Error_Code code, const char* message)
{
  TRITONSERVER_Error* error = malloc(sizeof(*error));
  *error = (TRITONSERVER_Error){code, strdup(message)};
  count(&errors_alive, 1);
  return error;
}

void TRITONSERVER_ErrorDelete(TRITONSERVER_Error* error)
{
  free(error->text);
  free(error);
  count(&errors_alive, -1);
}

TRITONSERVER_Error_Code TRITONSERVER_ErrorCode(TRITONSERVER_Error* error) { return error->code; }
const char* TRITONSERVER_ErrorMessage(TRITONSERVER_Error* error) { return error->text; }

/* Returns an error where it is this call's turn to fail. */
static TRITONSERVER_Error* maybe(void)
{
  pthread_mutex_lock(&lock);
  const int fails = calls++ == fail_at;
  failed_calls += fails;
  pthread_mutex_unlock(&lock);
  return fails ? TRITONSERVER_ErrorNew(TRITON_INTERNAL, "this call was to fail") : NULL;
}

TRITONSERVER_Error* TRITONSERVER_LogMessage(TRITONSERVER_LogLevel level, const char* file, int line, const char* text)
{
  (void)level, (void)file, (void)line, (void)text;
  return maybe();
}
TRITONSERVER_Error* TRITONSERVER_MessageSerializeToJson(TRITONSERVER_Message* message, const char** text, size_t* size)
{
  static const char config[] = "{\"name\": \"harness\"}";
  (void)message;
  *text = config;
  *size = sizeof(config) - 1;
  return maybe();
}
TRITONSERVER_Error* TRITONSERVER_MessageDelete(TRITONSERVER_Message* message)
{
  free(message);
  count(&messages_alive, -1);
  return NULL;
}
const char* TRITONSERVER_DataTypeString(TRITONSERVER_DataType type) { return type == 0 ? "FP32" : "INT32"; }
TRITONSERVER_DataType TRITONSERVER_StringToDataType(const char* name) { return strcmp(name, "FP32") == 0 ? 0 : 1; }
const char* TRITONSERVER_InstanceGroupKindString(TRITONSERVER_InstanceGroupKind kind)
{
  (void)kind;
  return "CPU";
}
TRITONSERVER_Error* TRITONBACKEND_ApiVersion(uint32_t* major, uint32_t* minor)
{
  *major = 1, *minor = 19;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelConfig(TRITONBACKEND_Model* model, uint32_t version, TRITONSERVER_Message** config)
{
  (void)model, (void)version;
  TRITONSERVER_Error* error = maybe();
  if (error != NULL) return error;
  *config = malloc(sizeof(TRITONSERVER_Message));
  count(&messages_alive, 1);
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_ModelRepository(
    TRITONBACKEND_Model* model, TRITONBACKEND_ArtifactType* type, const char** folder)
{
  (void)model;
  *type = 0, *folder = "nowhere";
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelVersion(TRITONBACKEND_Model* model, uint64_t* version)
{
  (void)model;
  *version = 1;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceModel(TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Model** model)
{
  (void)instance;
  *model = NULL;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceKind(
    TRITONBACKEND_ModelInstance* instance, TRITONSERVER_InstanceGroupKind* kind)
{
  (void)instance;
  *kind = 0;
  return maybe();
}
/* The device tells the model how many workers to ask for. */
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceDeviceId(TRITONBACKEND_ModelInstance* instance, int32_t* id)
{
  *id = instance->workers;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceState(TRITONBACKEND_ModelInstance* instance, void** state)
{
  *state = instance->state;
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceSetState(TRITONBACKEND_ModelInstance* instance, void* state)
{
  instance->state = state;
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportStatistics(
    TRITONBACKEND_ModelInstance* instance, TRITONBACKEND_Request* request, bool success, uint64_t start,
    uint64_t compute_start, uint64_t compute_end, uint64_t end)
{
  (void)instance, (void)request;
  count(success ? &answered : &refused, 1);
  if (!(start <= compute_start && compute_start <= compute_end && compute_end <= end)) count(&wrong, 1);
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ModelInstanceReportBatchStatistics(
    TRITONBACKEND_ModelInstance* instance, uint64_t batch_size, uint64_t start, uint64_t compute_start,
    uint64_t compute_end, uint64_t end)
{
  (void)instance, (void)batch_size, (void)start, (void)compute_start, (void)compute_end, (void)end;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestInputCount(TRITONBACKEND_Request* request, uint32_t* inputs)
{
  (void)request;
  *inputs = 2;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestInputByIndex(
    TRITONBACKEND_Request* request, uint32_t index, TRITONBACKEND_Input** input)
{
  *input = &request->inputs[index];
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputCount(TRITONBACKEND_Request* request, uint32_t* outputs)
{
  (void)request;
  *outputs = 1;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestOutputName(TRITONBACKEND_Request* request, uint32_t index, const char** name)
{
  (void)request, (void)index;
  *name = "Y";
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestIsCancelled(TRITONBACKEND_Request* request, bool* is_cancelled)
{
  *is_cancelled = request->cancelled;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_InferenceRequestTimeoutMicroseconds(TRITONBACKEND_Request* request, uint64_t* timeout)
{
  *timeout = request->timeout;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_RequestRelease(TRITONBACKEND_Request* request, uint32_t flags)
{
  (void)flags;
  for (int place = 0; place < 2; place++) free(request->inputs[place].content);
  free(request);
  count(&requests_alive, -1);
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_InputProperties(
    TRITONBACKEND_Input* input, const char** name, TRITONSERVER_DataType* type, const int64_t** shape,
    uint32_t* dimensions, uint64_t* bytes, uint32_t* buffers)
{
  *name = input->name, *type = TRITONSERVER_StringToDataType(input->type), *shape = input->shape, *dimensions = 2;
  *bytes = input->bytes, *buffers = input->pieces;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_InputBuffer(
    TRITONBACKEND_Input* input, uint32_t index, const void** buffer, uint64_t* bytes, TRITONSERVER_MemoryType* memory,
    int64_t* memory_id)
{
  const uint64_t size = input->bytes / input->pieces;
  *buffer = input->bytes == 0 ? NULL : input->content + index * size;
  *bytes = index + 1 == input->pieces ? input->bytes - index * size : size;
  *memory = input->memory, *memory_id = 0;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_ResponseNew(TRITONBACKEND_Response** response, TRITONBACKEND_Request* request)
{
  TRITONSERVER_Error* error = maybe();
  if (error != NULL) return error;
  *response = calloc(1, sizeof(TRITONBACKEND_Response));
  (*response)->request = request;
  count(&responses_alive, 1);
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_ResponseOutput(
    TRITONBACKEND_Response* response, TRITONBACKEND_Output** output, const char* name, TRITONSERVER_DataType type,
    const int64_t* shape, uint32_t dimensions)
{
  (void)type, (void)shape, (void)dimensions;
  if (strcmp(name, "Y") != 0) count(&wrong, 1);
  *output = &response->output;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_OutputBuffer(
    TRITONBACKEND_Output* output, void** buffer, uint64_t bytes, TRITONSERVER_MemoryType* memory, int64_t* memory_id)
{
  TRITONSERVER_Error* error = maybe();
  if (error != NULL) return error;
  free(output->content);
  /* Exactly so long: a byte more is written where a sanitizer looks. */
  *buffer = output->content = malloc(bytes == 0 ? 1 : bytes);
  *memory = TRITON_MEMORY_CPU, *memory_id = 0;
  ((TRITONBACKEND_Response*)((char*)output - offsetof(TRITONBACKEND_Response, output)))->bytes = bytes;
  return NULL;
}
TRITONSERVER_Error* TRITONBACKEND_StateNew(
    TRITONBACKEND_State** state, TRITONBACKEND_Request* request, const char* name, TRITONSERVER_DataType type,
    const int64_t* shape, uint32_t dimensions)
{
  static TRITONBACKEND_State kept;
  (void)request, (void)name, (void)type, (void)shape, (void)dimensions;
  *state = &kept;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_StateBuffer(
    TRITONBACKEND_State* state, void** buffer, uint64_t bytes, TRITONSERVER_MemoryType* memory, int64_t* memory_id)
{
  static _Thread_local char kept[64];
  (void)state;
  if (bytes > sizeof(kept)) count(&wrong, 1);
  *buffer = kept, *memory = TRITON_MEMORY_CPU, *memory_id = 0;
  return maybe();
}
TRITONSERVER_Error* TRITONBACKEND_StateUpdate(TRITONBACKEND_State* state)
{
  (void)state;
  return maybe();
}
/* What is answered without an error is the request's own numbers, twice over. */
TRITONSERVER_Error* TRITONBACKEND_ResponseSend(
    TRITONBACKEND_Response* response, uint32_t flags, TRITONSERVER_Error* error)
{
  (void)flags;
  const TRITONBACKEND_Input* input = &response->request->inputs[0];
  if (error == NULL && response->output.content != NULL)
    for (uint64_t place = 0; place < response->bytes / sizeof(float); place++)
      if (((float*)response->output.content)[place] != 2 * ((float*)input->content)[place]) count(&wrong, 1);
  pthread_mutex_lock(&lock);
  /* As if it were being read until then: with a long request, the short ones beside it are waited for, unless one was
   * waited for in vain. */
  static int late = 0;
  struct timespec until;
  clock_gettime(CLOCK_REALTIME, &until);
  until.tv_sec += 5;
  while (input->shape[1] == LONG_ELEMENTS && ordered < SHORT && late == 0)
    late = pthread_cond_timedwait(&was_answered, &lock, &until);
  if (ordered < LONG + SHORT) order[ordered++] = error == NULL ? response->request->number : -response->request->number;
  pthread_cond_broadcast(&was_answered);
  pthread_mutex_unlock(&lock);
  free(response->output.content);
  free(response);
  count(&responses_alive, -1);
  return NULL;
}

static TRITONBACKEND_Request* make_request_of(int number, uint64_t size)
{
  TRITONBACKEND_Request* request = calloc(1, sizeof(*request));
  request->number = number;
  request->inputs[0] = (TRITONBACKEND_Input){"X", "FP32", {1, (int64_t)size}, malloc(size * sizeof(float) + 1),
                                             size * sizeof(float), 1 + (uint32_t)(number % PIECES), TRITON_MEMORY_CPU};
  for (uint64_t place = 0; place < size; place++)
    ((float*)request->inputs[0].content)[place] = (float)(number + (int)place);
  request->inputs[1] = (TRITONBACKEND_Input){"KIND", "INT32", {1, 1}, malloc(4), 4, 1, TRITON_MEMORY_CPU};
  /* Where it fails, so does its whole batch. */
  if (number % 101 == 100) request->inputs[0].memory = 2;
  memcpy(request->inputs[1].content, &number, 4);
  count(&requests_alive, 1);
  return request;
}

static TRITONBACKEND_Request* make_request(int number)
{
  return make_request_of(number, (uint64_t)(number % 7)); /* also of nothing */
}

static int check(const char* when)
{
  const int fine = errors_alive == 0 && messages_alive == 0 && responses_alive == 0 && requests_alive == 0 && wrong == 0;
  if (!fine)
    fprintf(stderr, "%s: alive are %ld errors, %ld messages, %ld responses and %ld requests; %ld are wrong\n", when,
            errors_alive, messages_alive, responses_alive, requests_alive, wrong);
  return fine;
}

/* Long requests and short ones, queued together: the short ones are answered first, the long ones one after another. Two
 * of these are given up while they wait. */
static int short_ones_go_first(void)
{
  TRITONBACKEND_ModelInstance instance = {NULL, 2};
  TRITONBACKEND_Request* batch[LONG + SHORT];
  for (int place = 0; place < LONG + SHORT; place++)
    batch[place] = make_request_of(11 + place, place < LONG || place == LONG + 1 ? LONG_ELEMENTS : 3);
  /* As many elements, but in short items. */
  batch[LONG + 1]->inputs[0].shape[0] = LONG_ELEMENTS / 4, batch[LONG + 1]->inputs[0].shape[1] = 4;
  batch[1]->cancelled = true;
  batch[2]->timeout = 1;
  batch[3]->timeout = (uint64_t)1 << 40;
  forget(ENTRY(ModelInstanceInitialize)(&instance));
  ordered = 0;
  forget(ENTRY(ModelInstanceExecute)(&instance, batch, LONG + SHORT));
  forget(ENTRY(ModelInstanceFinalize)(&instance));
  static const int expected[LONG + SHORT] = {15, 16, 17, 11, -12, -13, 14};
  int fine = ordered == LONG + SHORT;
  for (int place = 0; place < LONG + SHORT; place++) {
    fine = fine && order[place] == expected[place];
    printf("%d ", order[place]);
  }
  printf("were answered in this order\n");
  if (!fine) fprintf(stderr, "long requests were in the way of short ones\n");
  return fine && check("long requests");
}

/* Answers requests in batches of different sizes; returns how many were not taken. */
static long answer(TRITONBACKEND_ModelInstance* instance, int first, int requests)
{
  long not_taken = 0;
  for (int number = first; number < first + requests;) {
    TRITONBACKEND_Request* batch[MOST_IN_BATCH];
    uint32_t size = 0;
    while (size <= (uint32_t)number % MOST_IN_BATCH && size < MOST_IN_BATCH && number < first + requests)
      batch[size++] = make_request(number++);
    TRITONSERVER_Error* error = ENTRY(ModelInstanceExecute)(instance, batch, size);
    if (error == NULL) continue;
    forget(error);
    not_taken += size;
    for (uint32_t place = 0; place < size; place++) forget(TRITONBACKEND_RequestRelease(batch[place], 1));
  }
  return not_taken;
}

/* Loads the model, answers and unloads it; returns whether it could be loaded. */
static int serve(int workers, int first, int requests)
{
  TRITONBACKEND_ModelInstance instance = {NULL, workers};
  TRITONSERVER_Error* error = ENTRY(ModelInstanceInitialize)(&instance);
  const int loaded = error == NULL;
  forget(error);
  if (loaded) answer(&instance, first, requests);
  /* As Triton does, whether it could be initialized or not. */
  forget(ENTRY(ModelInstanceFinalize)(&instance));
  return loaded;
}

static size_t allocated(void)
{
  return __sanitizer_get_current_allocated_bytes ? __sanitizer_get_current_allocated_bytes() : 0;
}

int main(int arguments, char** argument)
{
  const int requests = arguments > 1 ? atoi(argument[1]) : 1000;
  TRITONSERVER_Error* error = ENTRY(Initialize)(NULL);
  if (error != NULL) {
    fprintf(stderr, "%s\n", TRITONSERVER_ErrorMessage(error));
    return 1;
  }
  for (int workers = 0; workers <= 2; workers += 2) {
    /* What is filled once, such as Python's caches, is full. */
    serve(workers, 0, 2000);
    const size_t before = allocated();
    if (!serve(workers, 0, requests / 2) || !check("requests")) return 1;
    const size_t after = allocated();
    printf("%d workers: %d requests, %zu bytes before and %zu after\n", workers, requests / 2, before, after);
    if (after > before + GROWTH_BYTES) {
      fprintf(stderr, "%zu bytes were not freed\n", after - before);
      return 1;
    }
  }
  if (answered == 0 || refused == 0) return 1;
  long places = 0;
  for (;; places++) {
    calls = 0, failed_calls = 0, fail_at = places;
    serve(0, 0, 12);
    if (!check("a call that fails")) return 1;
    if (failed_calls == 0) break;
  }
  fail_at = -1;
  if (!short_ones_go_first()) return 1;
  printf("%ld answered, %ld refused; each of %ld calls failed once\n", answered, refused, places);
  return places > 100 ? 0 : 1;
}
