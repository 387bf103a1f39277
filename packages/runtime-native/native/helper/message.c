/* Decodes launch plans and frames. A plan is checked once, in full, before anything of it is believed. */
#include "message.h"

#include <string.h>

void put_u16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
}

void put_u32(uint8_t *at, uint32_t value)
{
	put_u16(at, (uint16_t)value);
	put_u16(at + 2, (uint16_t)(value >> 16));
}

void put_u64(uint8_t *at, uint64_t value)
{
	put_u32(at, (uint32_t)value);
	put_u32(at + 4, (uint32_t)(value >> 32));
}

uint16_t get_u16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

uint32_t get_u32(const uint8_t *at)
{
	return (uint32_t)get_u16(at) | (uint32_t)get_u16(at + 2) << 16;
}

uint64_t get_u64(const uint8_t *at)
{
	return (uint64_t)get_u32(at) | (uint64_t)get_u32(at + 4) << 32;
}

void put_frame_header(uint8_t *at, uint8_t type, uint8_t argument, uint16_t id, uint32_t length)
{
	at[0] = type;
	at[1] = argument;
	put_u16(at + 2, id);
	put_u32(at + 4, length);
}

static const struct {
	uint16_t code;
	const char *name;
	const char *fields;
} TABLE[] = {
#define X(name, number, fields) {OP_##name, #name, fields},
	OPERATIONS(X)
#undef X
};

static const char *operation_fields(uint16_t code)
{
	for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++)
		if (TABLE[i].code == code)
			return TABLE[i].fields;
	return NULL;
}

const char *operation_name(uint16_t code)
{
	for (size_t i = 0; i < sizeof TABLE / sizeof *TABLE; i++)
		if (TABLE[i].code == code)
			return TABLE[i].name;
	return "?";
}

/* What is left of an operation while its fields are checked. */
struct window {
	const uint8_t *at;
	const uint8_t *end;
};

static bool take(struct window *window, size_t size, const uint8_t **out)
{
	if ((size_t)(window->end - window->at) < size)
		return false;
	*out = window->at;
	window->at += size;
	return true;
}

static bool take_u32(struct window *window, uint32_t *value)
{
	const uint8_t *at;
	if (!take(window, 4, &at))
		return false;
	*value = get_u32(at);
	return true;
}

/* Length without the NUL, bytes, NUL. A NUL in between would make C and the compiler see different strings. */
static bool take_string(struct window *window)
{
	uint32_t length;
	const uint8_t *at;
	return take_u32(window, &length) && length < PLAN_MAX_SIZE && take(window, (size_t)length + 1, &at) &&
	       memchr(at, 0, (size_t)length + 1) == at + length;
}

static bool take_field(struct window *window, char kind)
{
	const uint8_t *at;
	uint32_t number;
	switch (kind) {
	case 'u':
		return take(window, 4, &at);
	case 'q':
		return take(window, 8, &at);
	case 's':
		return take_string(window);
	case 'b':
		return take_u32(window, &number) && take(window, number, &at);
	case 'l':
		if (!take_u32(window, &number))
			return false;
		/* each string takes five bytes or more, so a lying count ends the loop soon */
		for (uint32_t i = 0; i < number; i++)
			if (!take_string(window))
				return false;
		return true;
	default:
		return false;
	}
}

static bool begins_with_slot(uint16_t code)
{
	switch (code) {
	case OP_TREE_OPEN:
	case OP_ROOT_TREE:
	case OP_BIND:
	case OP_ID_MAP:
	case OP_MAPPED:
	case OP_MAP_TREE:
	case OP_MOUNT_TREE:
	case OP_OVERLAY_TREE:
	case OP_DEVICE_TREE:
	case OP_HOST_DEVICE:
		return true;
	default:
		return false;
	}
}

bool plan_check(const uint8_t *bytes, size_t size, struct plan *plan, const char **reason)
{
	*reason = "shorter than its header";
	if (size < PLAN_HEADER_SIZE)
		return false;
	*reason = "longer than 1 MiB";
	if (size > PLAN_MAX_SIZE)
		return false;
	*reason = "not a launch plan";
	if (get_u32(bytes) != PLAN_MAGIC)
		return false;
	*reason = "made for another version of the helper";
	if (get_u32(bytes + 4) != PLAN_VERSION)
		return false;
	*reason = "its length field is wrong";
	if (get_u32(bytes + 8) != size)
		return false;

	uint32_t count = get_u32(bytes + 12);
	struct window window = {bytes + PLAN_HEADER_SIZE, bytes + size};
	uint16_t phase = 0;
	bool executes = false;
	for (uint32_t i = 0; i < count; i++) {
		const uint8_t *header;
		const uint8_t *body;
		*reason = "an operation is cut off";
		if (!take(&window, 8, &header))
			return false;
		uint16_t code = get_u16(header);
		*reason = "reserved bits are set";
		if (get_u16(header + 2) != 0)
			return false;
		*reason = "an operation is cut off";
		if (!take(&window, get_u32(header + 4), &body))
			return false;
		const char *fields = operation_fields(code);
		*reason = "an operation is unknown";
		if (!fields)
			return false;
		*reason = "operations are out of order";
		if (code >> 8 < phase || executes)
			return false;
		phase = code >> 8;
		executes = code == OP_EXEC;
		struct window inner = {body, window.at};
		*reason = "the fields of an operation are malformed";
		for (; *fields; fields++)
			if (!take_field(&inner, *fields))
				return false;
		if (inner.at != inner.end)
			return false;
		*reason = "a slot is out of range";
		if (begins_with_slot(code) && get_u32(body) >= PLAN_MAX_SLOTS)
			return false;
	}
	*reason = "bytes follow the last operation";
	if (window.at != window.end)
		return false;
	*reason = "it does not end with a program to execute";
	if (!executes)
		return false;

	*plan = (struct plan){.bytes = bytes, .size = (uint32_t)size, .count = count};
	return true;
}

struct cursor plan_begin(const struct plan *plan)
{
	return (struct cursor){plan->bytes + PLAN_HEADER_SIZE};
}

bool plan_next(const struct plan *plan, struct cursor *cursor, struct operation_at *operation)
{
	if (cursor->at >= plan->bytes + plan->size)
		return false;
	operation->code = get_u16(cursor->at);
	operation->fields.at = cursor->at + 8;
	cursor->at += 8 + get_u32(cursor->at + 4);
	return true;
}

uint32_t read_u32(struct cursor *cursor)
{
	uint32_t value = get_u32(cursor->at);
	cursor->at += 4;
	return value;
}

uint64_t read_u64(struct cursor *cursor)
{
	uint64_t value = get_u64(cursor->at);
	cursor->at += 8;
	return value;
}

const char *read_string(struct cursor *cursor)
{
	uint32_t length = read_u32(cursor);
	const char *value = (const char *)cursor->at;
	cursor->at += (size_t)length + 1;
	return value;
}

struct bytes read_bytes(struct cursor *cursor)
{
	uint32_t size = read_u32(cursor);
	struct bytes value = {cursor->at, size};
	cursor->at += size;
	return value;
}

struct list read_list(struct cursor *cursor)
{
	uint32_t count = read_u32(cursor);
	struct list list = {count, *cursor};
	for (uint32_t i = 0; i < count; i++)
		(void)read_string(cursor);
	return list;
}
