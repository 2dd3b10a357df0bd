// The checking mode: one shadow memory for everything that a kernel can touch and another thread can see.
//
// A kernel compiled with -fsanitize=thread calls __tsan_readN or __tsan_writeN before each access to memory. The
// compiler's own library is not linked: these functions are defined here, and ask of every byte
//     is it inside an array?            has anybody written it?
//     could another thread have touched it at the same time?     (one of the two writing, neither of them atomic)
// Time is counted in intervals between barriers. Two accesses are in order if a barrier, or for lanes of one warp
// __syncwarp, stands between them; blocks of different clusters are never in order. That shuffles and luck keep lanes
// together is not relied upon, as CUDA does not promise it. The barriers of Hopper, where not all wait for all, put in
// order what a warp did before it arrived and what another does after it waited, in its own block or in another of its
// cluster: each warp has a clock, and knows how much of each other's time lies behind it. What is copied to a block has
// a clock as well.
#include "machine.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>

using namespace emulator;

typedef unsigned u32;

// who: block * 1024 + thread + 1; when: interval; 0 never. clock: a warp's, or from COPIES on; time: what it showed
struct Access { u32 who, when, warp_when, clock, time; };
enum Readers { ONE, IN_WARP, IN_BLOCK, IN_GRID };  // how far apart those are that read since the last order
struct Cell { Access write, read; Readers readers; bool atomic; u32 copier, copied, each, shown; };
// copier, copied: of a copy on its way, and when; each: where `each_warp` has its readers one by one, if it has; shown:
// how often its writer had shown its writes to products, when it wrote this

// `room`: bytes from the start that belong to nobody else; what lies in them beyond `size` is outside.
struct Space { uintptr_t start; size_t size, room; Cell* cells; };
static Space global;                      // arrays
static Space dynamic[MOST_CLUSTER];       // the shared memory of the launch, of each block
static Space* fixed;                      // the `__shared__` arrays, in the order of their addresses
static int fixed_count;
static unsigned char* written;            // of every byte of `global`: 0 outside an array, 1 unwritten, 2 written
static bool checking;
static u32 ticks = 1, launched, block_began, block_number;  // block_number: of the first of the cluster

static const int WARPS = MOST_CLUSTER * MOST_WARPS, COPIES = WARPS, CLOCKS = WARPS + MOST_CLUSTER;
static u32 block_interval[MOST_CLUSTER], warp_interval[WARPS];
struct Times { u32 of[CLOCKS]; };
static u32 now[CLOCKS];                   // what each clock shows
static Times known[CLOCKS];               // to each warp: how much of each clock's time lies behind it
struct Phase { Times gathered, released; };  // by those who have arrived; by the ends of phases
static Phase phases[128], of_cluster;
static Times* multiplied;                 // when each warp last multiplied these 16 bytes of the launch's shared memory
static bool multiplies;                   // in this cluster

struct Reach { Thread* thread; u32 time; Where where; };
static Reach reached[MOST_CLUSTER][WARPS];  // into each block's shared memory: the last time of each warp of another

// proxy_fence: by each thread, how often, and when it last did.
static const int SHOWS = 8;
static struct { u32 count; Access last[SHOWS]; } shows[MOST_CLUSTER * 1024];
static bool shown_ever;                   // in this cluster

struct WarpsRead { Access last[WARPS]; bool more[WARPS]; };  // by warp; more: other lanes of it, too
static WarpsRead** each_warp;             // of bytes of shared memory that several warps of a block have read
static u32 each_count, each_room;
static bool barriers;                     // which put warps in order one by one, in this cluster

// ---- Time ----------------------------------------------------------------------------------------------------------

void emulator::check_launch(int shared) {
  for (int r = 0; r < MOST_CLUSTER; r++) {
    dynamic[r].start = (uintptr_t)block_at(r).shared;
    dynamic[r].size = r < cluster_size() ? (size_t)shared : 0;
    dynamic[r].room = MOST_SHARED;
  }
  launched = ++ticks;
  block_number = 0;
  if (!checking) return;
  for (int i = 0; i < fixed_count; i++) {
    free(fixed[i].cells);
    fixed[i].cells = (Cell*)calloc(fixed[i].size, sizeof(Cell));
  }
  for (Space& s : dynamic) {
    free(s.cells);
    s.cells = (Cell*)calloc(s.size, sizeof(Cell));
  }
}

bool emulator::has_fixed() { return fixed_count; }

// Nothing in shared memory outlives a block: NaN in every float format, so that use shows.
void emulator::check_cluster() {
  trace_settle();
  for (int i = 0; i < fixed_count; i++) memset((void*)fixed[i].start, 0xff, fixed[i].size);
  for (Space& s : dynamic) memset((void*)s.start, 0xff, s.size);
  block_began = ++ticks;
  for (u32& i : block_interval) i = block_began;
  block_number += cluster_size();
  for (int c = 0; c < CLOCKS; c++) now[c] = 1, known[c] = {};
  of_cluster = {};
  memset(reached, 0, sizeof reached);
  if (multiplies) memset(multiplied, 0, MOST_CLUSTER * MOST_SHARED / 16 * sizeof(Times));
  if (shown_ever) memset(shows, 0, sizeof shows);
  multiplies = barriers = shown_ever = false;
  each_count = 0;
}

static void learn(Times& mine, const Times& theirs) {
  for (int c = 0; c < CLOCKS; c++) mine.of[c] = std::max(mine.of[c], theirs.of[c]);
}

static Times block_knows(int rank) {
  Times all = {};
  int first = rank * MOST_WARPS, end = first + (thread_count() + 31) / 32;
  for (int w = first; w < end; w++) learn(all, known[w]), all.of[w] = now[w];
  return all;
}

void emulator::check_barrier() {
  int rank = emulator_thread->block->rank;
  block_interval[rank] = ++ticks;
  Times all = block_knows(rank);
  for (int w = rank * MOST_WARPS; w < (rank + 1) * MOST_WARPS; w++) known[w] = all, now[w]++;
}
void emulator::check_warp(int warp) { warp_interval[warp]++; }

static void release(Phase& phase) {
  int warp = warp_number();
  learn(phase.gathered, known[warp]);
  phase.gathered.of[warp] = now[warp]++;
}

void emulator::check_barrier_init(int barrier) { phases[barrier] = {}, barriers = true; }
void emulator::check_release(int barrier) { release(phases[barrier]); }
void emulator::check_phase(int barrier) { phases[barrier].released = phases[barrier].gathered; }
void emulator::check_acquire(int barrier) { learn(known[warp_number()], phases[barrier].released); }
void emulator::check_cluster_arrive() { release(of_cluster); }
void emulator::check_cluster_phase() { of_cluster.released = of_cluster.gathered; }
void emulator::check_cluster_wait() { learn(known[warp_number()], of_cluster.released); }

// A block that is reached into must be there. That it had not ended may be luck: so before it ends, it must know of all
// who reached into it that they have done so.
void emulator::check_reach(int rank, Where where) {
  if (!block_at(rank).live) stop({"reaches into a block of its cluster that has ended", where});
  reached[rank][warp_number()] = {emulator_thread, now[warp_number()], where};
}
void emulator::check_end() {
  if (!checking) return;
  int rank = emulator_thread->block->rank;
  Times all = block_knows(rank);
  for (int w = 0; w < WARPS; w++) {
    const Reach& last = reached[rank][w];
    if (!last.thread || last.thread->block->rank == rank || last.time <= all.of[w]) continue;
    emulator_thread = last.thread;
    stop({"reaches into a block of its cluster that may have ended", last.where});
  }
}

// ---- Accesses ------------------------------------------------------------------------------------------------------

static u32 block_of(u32 who) { return (who - 1) / 1024; }
static u32 warp_of(u32 who) { return (who - 1) / 32; }  // counted through all blocks

static u32 me, my_warp, interval, my_warp_interval;  // of the access that is checked
static u32 since;                                 // what was before is forgotten
static const Where* asked;                        // where it was asked for, if no thread makes it

static Access mine() { return {me, interval, my_warp_interval, my_warp, now[my_warp]}; }

static bool behind(const Access& a) { return known[my_warp].of[a.clock] >= a.time; }

// Before this access, whatever the machine does. more: other lanes of its warp made the same one.
static bool in_order(const Access& a, bool more = false) {
  if (!a.who || a.when < since) return true;
  if (block_of(a.who) != block_of(me)) return block_of(a.who) >= block_number && behind(a);  // of its cluster
  if (a.clock >= COPIES) return a.when < interval || behind(a);
  bool same = warp_of(a.who) == warp_of(me) && a.warp_when < my_warp_interval;
  return (a.who == me && !more) || a.when < interval || same || behind(a);
}

// Who reads it, not known to me to be done with it; 0: nobody.
static u32 reading(const Cell& c) {
  if (c.readers < IN_BLOCK) return in_order(c.read, c.readers == IN_WARP) ? 0 : c.read.who;
  if (c.read.when < since || (block_of(c.read.who) == block_of(me) && c.readers == IN_BLOCK && c.read.when < interval))
    return 0;
  if (c.readers == IN_GRID || !c.each || block_of(c.read.who) != block_of(me)) return c.read.who;
  const WarpsRead& by = *each_warp[c.each - 1];
  for (int w = 0; w < WARPS; w++)
    if (!in_order(by.last[w], by.more[w])) return by.last[w].who;
  return 0;
}

static u32 multiplying(const Space*, size_t offset);

static Readers apart(u32 a, u32 b) {
  return a == b ? ONE : block_of(a) != block_of(b) ? IN_GRID : warp_of(a) != warp_of(b) ? IN_BLOCK : IN_WARP;
}

static WarpsRead& readers_of(Cell& c) {
  if (c.each) return *each_warp[c.each - 1];
  if (each_count == each_room) {
    each_warp = (WarpsRead**)realloc(each_warp, (each_room = 2 * each_room + 64) * sizeof(WarpsRead*));
    for (u32 i = each_count; i < each_room; i++) each_warp[i] = (WarpsRead*)malloc(sizeof(WarpsRead));
  }
  WarpsRead& by = *each_warp[each_count];
  memset(&by, 0, sizeof by);
  by.last[c.read.clock] = c.read, by.more[c.read.clock] = c.readers == IN_WARP;
  c.each = ++each_count;
  return by;
}

// A read that is in order before this one need not be kept: whoever is in order after this one is after both.
static void note_read(Cell& c, bool shared) {
  if (!reading(c)) {
    c.read = mine(), c.readers = ONE, c.each = 0;
    return;
  }
  Readers far = std::max(c.readers, apart(c.read.who, me));
  if (far == IN_WARP) c.read.time = now[my_warp];
  if (far == IN_BLOCK && shared && barriers && (c.readers < IN_BLOCK || c.each)) {
    WarpsRead& by = readers_of(c);
    by.more[my_warp] = !in_order(by.last[my_warp], by.more[my_warp]);
    by.last[my_warp] = mine();
  }
  c.readers = far;
}

// As it is told to Python: 1 global, 2 `__shared__` arrays, counted from the first of them, 3 of the launch.
static bool of_launch(const Space* s) { return s >= dynamic && s < dynamic + MOST_CLUSTER; }
static int number_of(const Space* s) { return s == &global ? 1 : of_launch(s) ? 3 : 2; }
static long long offset_of(const Space* s, uintptr_t at) {
  return (long long)(at - (number_of(s) == 2 ? fixed[0].start : s->start));
}

static void fault(const char* what, const Space& space, uintptr_t at, int bytes, const void* code, u32 other = 0,
                  bool copy = false) {
  Fault f = {};
  Dl_info library;
  if (dladdr(code, &library)) f.code = (long long)((const char*)code - (const char*)library.dli_fbase);
  f.what = what, f.bytes = bytes, f.space = number_of(&space);
  f.offset = offset_of(&space, at);
  u32 i = (other - 1) % 1024;
  dim3 n = emulator_block_dim;
  if (of_launch(&space)) f.owner = block_at((int)(&space - dynamic)).index;
  f.other_block = emulator_thread->block->index;
  if (other) f.other = {i % n.x, i / n.x % n.y, i / (n.x * n.y)};
  int mate = (int)(block_of(other) - block_number);  // of the blocks that are there
  if (other && mate >= 0) f.other_block = block_at(mate).index;
  if (copy) f.also = where_copied((int)(1024 * mate + i), at);
  if (copy && !f.also.file) f.also = where_boxed(at);
  if (asked) f.where = *asked, f.code = 0;
  asked = nullptr;
  stop(f);
}

static const Space* space_of(uintptr_t at) {
  if (at - global.start < global.room) return &global;
  for (const Space& space : dynamic)
    if (at - space.start < space.room) return &space;
  if (!fixed_count || at < fixed[0].start) return nullptr;
  const Space* space = std::upper_bound(fixed, fixed + fixed_count, at, [](uintptr_t a, const Space& s) {
    return a < s.start;
  }) - 1;
  if (at - space->start < space->room) return space;
  return nullptr;  // a thread's own stack, or a parameter
}

// The space of an access that is about to be checked; null where there is nothing to check.
static const Space* asks(uintptr_t at) {
  const Space* space = checking && emulator_thread ? space_of(at) : nullptr;
  if (!space) return nullptr;
  int rank = emulator_thread->block->rank;
  me = (block_number + rank) * 1024 + thread_number() + 1;
  my_warp = warp_number();
  interval = block_interval[rank];
  my_warp_interval = warp_interval[my_warp];
  since = space != &global ? block_began : launched;
  return space;
}

static auto& shows_of(u32 who) { return shows[who - 1 - block_number * 1024]; }

static void check(const void* p, int bytes, bool writes, bool atomic, const void* code) {
  uintptr_t at = (uintptr_t)p;
  const Space* space = asks(at);
  if (!space) return;
  bool shared = space != &global;
  if (!asked)
    trace_access(atomic ? TRACED_ATOMIC : writes ? TRACED_WRITE : TRACED_READ, p, bytes,
                 number_of(space), offset_of(space, at), code);
  for (int i = 0; i < bytes; i++, at++) {
    size_t offset = at - space->start;
    if (offset >= space->size || (!shared && !written[offset]))
      fault(writes ? "writes outside every array" : "reads outside every array", *space, at, bytes, code);
    Cell& c = space->cells[offset];
    if (c.copied >= since && c.copier)
      fault(writes ? "writes what a copy on its way will write" : "reads what a copy on its way will write", *space, at,
            bytes, code, c.copier, true);
    if (!writes || atomic) {
      bool known = shared ? c.write.when >= since : written[offset] == 2;
      if (!known) fault("reads what nobody has written", *space, at, bytes, code);
    }
    if (!in_order(c.write) && !(atomic && c.atomic))
      fault(writes ? "writes at the same time as another" : "reads what another writes at the same time", *space, at,
            bytes, code, c.write.who);
    if (u32 other = writes ? multiplying(space, offset) : 0)
      fault("writes what another multiplies at the same time", *space, at, bytes, code, other);
    if (u32 other = writes ? reading(c) : 0)
      fault("writes what another reads at the same time", *space, at, bytes, code, other);
    if (writes) {
      c.write = mine();
      c.atomic = atomic;
      c.shown = shown_ever ? shows_of(me).count : 0;
      if (!shared) written[offset] = 2;
    } else {
      note_read(c, shared);
    }
  }
}

// From here until it lands, the hardware may write these bytes at any moment: nobody may touch them, and who touched
// them before must be in order.
void emulator::check_departure(const Copy& copy) {
  uintptr_t at = (uintptr_t)copy.to;
  const Space* space = asks(at);
  if (!space) return;
  for (int i = 0; i < copy.size; i++, at++) {
    size_t offset = at - space->start;
    if (offset >= space->size) fault("copies to outside every array", *space, at, copy.size, copy.code);
    Cell& c = space->cells[offset];
    bool flying = c.copied >= since && c.copier;
    if (flying || !in_order(c.write))
      fault("copies at the same time to where another writes", *space, at, copy.size, copy.code,
            flying ? c.copier : c.write.who);
    if (u32 other = reading(c))
      fault("copies to what another reads at the same time", *space, at, copy.size, copy.code, other);
    if (u32 other = multiplying(space, offset))
      fault("copies to what another multiplies at the same time", *space, at, copy.size, copy.code, other);
    c.copier = me;
    c.copied = interval;
  }
}

void emulator::check_landing(const Copy& copy) {
  if (copy.inside) check(copy.from, copy.size, false, false, copy.code);
  uintptr_t at = (uintptr_t)copy.to;
  const Space* space = asks(at);
  if (!space) return;
  for (int i = 0; i < copy.size; i++) space->cells[at - space->start + i].copier = 0;
  check(copy.to, copy.size, true, false, copy.code);
}

// ---- What is read and written while threads do something else -------------------------------------------------------

// Who multiplies these bytes, not known to me to be done with it: a thread as in Access, or 0.
static u32 multiplying(const Space* space, size_t offset) {
  if (!multiplies || !of_launch(space)) return 0;
  const Times& last = multiplied[((space - dynamic) * MOST_SHARED + offset) / 16];
  for (u32 warp = 0; warp < WARPS; warp++)
    if (last.of[warp] > known[my_warp].of[warp] && warp != my_warp) return block_number * 1024 + 32 * warp + 1;
  return 0;
}

void emulator::check_box_departure(const void* to, int bytes, Where where) {
  uintptr_t at = (uintptr_t)to;
  const Space* space = asks(at);
  if (!space) return;
  asked = &where;
  for (int i = 0; i < bytes; i++, at++) {
    size_t offset = at - space->start;
    if (offset >= space->size) fault("copies to outside every array", *space, at, bytes, nullptr);
    Cell& c = space->cells[offset];
    bool flying = c.copied >= since && c.copier;
    if (flying || !in_order(c.write))
      fault("copies at the same time to where another writes", *space, at, bytes, nullptr,
            flying ? c.copier : c.write.who, flying);
    if (u32 other = reading(c))
      fault("copies to what another reads at the same time", *space, at, bytes, nullptr, other);
    if (u32 other = multiplying(space, offset))
      fault("copies to what another multiplies at the same time", *space, at, bytes, nullptr, other);
    c.copier = me;
    c.copied = interval;
  }
  asked = nullptr;
}

void emulator::check_read(const void* from, int bytes, Where where) {
  asked = &where;
  check(from, bytes, false, false, nullptr);
  asked = nullptr;
}

void emulator::check_box_landing(const void* to, int bytes, int barrier) {
  uintptr_t at = (uintptr_t)to;
  const Space* space = asks(at);
  if (!space) return;
  u32 clock = COPIES + (u32)(space - dynamic);
  phases[barrier].gathered.of[clock] = ++now[clock];
  for (int i = 0; i < bytes; i++) {
    Cell& c = space->cells[at + i - space->start];
    c.copier = 0;
    c.write = {me, interval, my_warp_interval, clock, now[clock]};
  }
}

void emulator::check_shown() {
  if (!asks(dynamic[emulator_thread->block->rank].start)) return;
  auto& by = shows_of(me);
  by.last[by.count++ % SHOWS] = mine();
  shown_ever = true;
}

// Whether what a thread wrote to this byte was shown afterwards, before this product.
static bool was_shown(const Cell& c) {
  const auto& by = shows_of(c.write.who);
  for (u32 n = by.count > c.shown + SHOWS ? by.count - SHOWS : c.shown; n < by.count; n++)
    if (in_order(by.last[n % SHOWS])) return true;
  return false;
}

void emulator::check_multiplied(const void* p, Where where) {
  uintptr_t at = (uintptr_t)p;
  const Space* space = asks(at);
  if (!space) return;
  asked = &where;
  for (int i = 0; i < 16; i++) {
    size_t offset = at + i - space->start;
    if (offset >= space->size) fault("multiplies what is outside every array", *space, at, 16, nullptr);
    Cell& c = space->cells[offset];
    if (c.copied >= since && c.copier)
      fault("multiplies what a copy on its way will write", *space, at, 16, nullptr, c.copier, true);
    if (c.write.when < since) fault("multiplies what nobody has written", *space, at, 16, nullptr);
    if (!in_order(c.write))
      fault(c.write.clock >= COPIES ? "multiplies what was copied, without having waited for it"
                                    : "multiplies what another writes at the same time",
            *space, at, 16, nullptr, c.write.who);
    if (c.write.clock < COPIES && !was_shown(c))
      fault("multiplies what its writer has not shown to products", *space, at, 16, nullptr, c.write.who);
  }
  asked = nullptr;
  if (!multiplied) multiplied = (Times*)calloc(MOST_CLUSTER * MOST_SHARED / 16, sizeof(Times));
  multiplies = true;
  multiplied[((space - dynamic) * MOST_SHARED + (at - space->start)) / 16].of[my_warp] = now[my_warp];
}

extern "C" {

// The `__shared__` arrays: of each its address from the start of the library, its bytes, and its room.
void emulator_fixed(const long long (*arrays)[3], int count) {
  Dl_info library;  // loaded once, however often it is asked for
  if (fixed || !dladdr((void*)emulator_fixed, &library)) return;
  fixed = (Space*)calloc(fixed_count = count, sizeof(Space));
  for (int i = 0; i < count; i++)
    fixed[i] = {(uintptr_t)library.dli_fbase + arrays[i][0], (size_t)arrays[i][1], (size_t)arrays[i][2], nullptr};
}

// Check from now on. `bytes` of `memory` hold the arrays, told apart by `marks` (see `written`); null: check no more.
void emulator_watch(unsigned char* memory, long long bytes, unsigned char* marks) {
  free(global.cells);
  checking = memory != nullptr;
  global = {(uintptr_t)memory, (size_t)bytes, (size_t)bytes, checking ? (Cell*)calloc(bytes, sizeof(Cell)) : nullptr};
  written = marks;
}

#define CODE __builtin_return_address(0)
void emulator_atomic(void* p, int bytes) { check(p, bytes, true, true, CODE); }
void emulator_read(const void* p, int bytes) { check(p, bytes, false, false, CODE); }
void emulator_write(void* p, int bytes) { check(p, bytes, true, false, CODE); }
void emulator_move(void* to, const void* from, int bytes) { memcpy(to, from, bytes); }

void __tsan_init() {}
void __tsan_func_entry(void*) {}
void __tsan_func_exit() {}
#define ACCESS(n)                                                              \
  void __tsan_read##n(void* p) { check(p, n, false, false, CODE); }            \
  void __tsan_write##n(void* p) { check(p, n, true, false, CODE); }            \
  void __tsan_unaligned_read##n(void* p) { check(p, n, false, false, CODE); }  \
  void __tsan_unaligned_write##n(void* p) { check(p, n, true, false, CODE); }
ACCESS(1) ACCESS(2) ACCESS(4) ACCESS(8) ACCESS(16)
void __tsan_read_range(void* p, unsigned long n) { check(p, (int)n, false, false, CODE); }
void __tsan_write_range(void* p, unsigned long n) { check(p, (int)n, true, false, CODE); }
void* __tsan_memcpy(void* to, const void* from, unsigned long n) {
  check(from, (int)n, false, false, CODE);
  check(to, (int)n, true, false, CODE);
  return memcpy(to, from, n);
}
void* __tsan_memset(void* to, int value, unsigned long n) {
  check(to, (int)n, true, false, CODE);
  return memset(to, value, n);
}
}
