/*
 * Wire formats: the launch plan, and the frames between the monitor and its clients. All numbers are little-endian.
 * src/helper/message.ts mirrors both.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "operations.h"

#define PLAN_MAGIC 0x4e4c5054u /* "TPLN" */
#define PLAN_VERSION 2u
#define PLAN_HEADER_SIZE 16u
#define PLAN_MAX_SIZE (1u << 20)
#define PLAN_MAX_SLOTS 1024u

/* A plan that plan_check has accepted. */
struct plan {
	const uint8_t *bytes;
	uint32_t size;
	uint32_t count;
};

/* A position in an accepted plan. Readers below need no checks of their own: plan_check has made them. */
struct cursor {
	const uint8_t *at;
};

/* One operation; `fields` stands at its first field. */
struct operation_at {
	uint16_t code;
	struct cursor fields;
};

struct list {
	uint32_t count;
	struct cursor items;
};

struct bytes {
	const uint8_t *data;
	uint32_t size;
};

/* Accepts or refuses `size` bytes as a plan; on refusal `reason` says why in a few words. */
bool plan_check(const uint8_t *bytes, size_t size, struct plan *plan, const char **reason);

/* Walks over the operations: set `cursor` with plan_begin, then call plan_next until it answers false. */
struct cursor plan_begin(const struct plan *plan);
bool plan_next(const struct plan *plan, struct cursor *cursor, struct operation_at *operation);

uint32_t read_u32(struct cursor *cursor);
uint64_t read_u64(struct cursor *cursor);
const char *read_string(struct cursor *cursor);
struct bytes read_bytes(struct cursor *cursor);
struct list read_list(struct cursor *cursor);

const char *operation_name(uint16_t code);

/* Frames. Header: type, argument, id (16 bits, echoed in the result), length of the payload (32 bits). */
#define FRAME_HEADER_SIZE 8u
#define FRAME_MAX_PAYLOAD (64u << 10)

enum frame_type {
	/* from clients */
	FRAME_START = 1,
	FRAME_ATTACH = 2, /* argument: 1 with stdin */
	FRAME_STDIN = 3,
	FRAME_STDIN_EOF = 4,
	FRAME_RESIZE = 5, /* columns, rows: 16 bits each */
	FRAME_KILL = 6,   /* signal: 32 bits */
	FRAME_PROCEED = 7, /* from the maker: the hooks have run */
	FRAME_ABANDON = 8, /* from the maker, who does not want the process any more, however far it is */
	/* to clients */
	FRAME_RESULT = 0x80, /* errno: 32 bits; more after a failed start, as FRAME_FAILED */
	FRAME_STATUS = 0x81, /* protocol version, phase, pid: 32 bits each */
	FRAME_FAILED = 0x82, /* errno: 32 bits; stage, system call, path: NUL-terminated */
	FRAME_EXIT = 0x83,   /* code, signal, oom, 0: 32 bits each; nanoseconds since the epoch: 64 bits */
	FRAME_OUTPUT = 0x84, /* argument: 1 stdout, 2 stderr */
	FRAME_END = 0x85,
	FRAME_STAGE = 0x87, /* to the maker: its child that makes the process, and wants to be waited for; pid: 32 bits */
	FRAME_HOOKS = 0x86, /* to the maker, who shall run the hooks; pid: 32 bits */
};

void put_u16(uint8_t *at, uint16_t value);
void put_u32(uint8_t *at, uint32_t value);
void put_u64(uint8_t *at, uint64_t value);
uint16_t get_u16(const uint8_t *at);
uint32_t get_u32(const uint8_t *at);
uint64_t get_u64(const uint8_t *at);
void put_frame_header(uint8_t *at, uint8_t type, uint8_t argument, uint16_t id, uint32_t length);
