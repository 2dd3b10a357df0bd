// What some threads of a block do, kept for whoever asked to see it (trace.py): each access that the checker is told of,
// each barrier and each meeting of a warp, in the order in which they ran.
//
// The checker is told before an access. What was read is there by then; what is written is looked up when the next
// event comes, of whatever thread.
#include "machine.h"

#include <dlfcn.h>
#include <string.h>

using namespace emulator;

static const int KEPT = 16;  // bytes of a value

struct Event {  // read from Python: see trace.py
  int thread, kind, space, bytes;  // kind: see machine.h; space: 1 global, 2 __shared__ arrays, 3 of the launch
  long long offset, code;          // from the start of that memory; the instruction, from the start of the library
  unsigned char value[KEPT], taken[KEPT];  // what was read, written, or given to the warp; what the warp gave
  Where where;                     // of a meeting
};

static Event* events;
static long long room;
static dim3 traced_block;
static int first, last;
static const char* library;

static struct { Event* event; const void* from; } unsettled;

extern "C" {
long long emulator_traced;  // events so far, with those that found no room
void emulator_trace(Event* memory, long long many, unsigned x, unsigned y, unsigned z, int from, int to) {
  trace_settle();
  Dl_info info;
  library = dladdr((void*)emulator_trace, &info) ? (const char*)info.dli_fbase : nullptr;
  events = memory, room = many, traced_block = {x, y, z}, first = from, last = to, emulator_traced = 0;
}
}

static Event* next(Traced kind) {
  if (!events || !emulator_thread) return nullptr;
  dim3 b = emulator_thread->block->index, t = traced_block;
  if (b.x != t.x || b.y != t.y || b.z != t.z) return nullptr;
  int thread = thread_number();
  if (thread < first || thread > last || emulator_traced++ >= room) return nullptr;
  Event* event = &events[emulator_traced - 1];
  *event = {thread, kind};
  return event;
}

static void keep(unsigned char* value, const void* from, int bytes) { memcpy(value, from, bytes < KEPT ? bytes : KEPT); }

void emulator::trace_settle() {
  if (unsettled.event) keep(unsettled.event->value, unsettled.from, unsettled.event->bytes);
  unsettled.event = nullptr;
}

void emulator::trace_access(Traced kind, const void* p, int bytes, int space, long long offset, const void* code) {
  if (!events) return;
  trace_settle();
  Event* event = next(kind);
  if (!event) return;
  event->space = space, event->bytes = bytes, event->offset = offset, event->code = (const char*)code - library;
  if (kind == TRACED_READ) keep(event->value, p, bytes);
  else unsettled = {event, p};
}

long long emulator::trace_arrival(const void* give, int bytes, Where where) {
  Event* event = events ? next(TRACED_MEETING) : nullptr;
  if (!event) return -1;
  event->bytes = bytes, event->where = where;
  if (give) keep(event->value, give, bytes);
  return event - events;
}

void emulator::trace_departure(long long arrival, const void* take, int bytes) {
  if (arrival >= 0 && take) keep(events[arrival].taken, take, bytes);
}
