/*
 * Feeds mutated plans to the decoder, and reads everything of those that it accepts. Built with the address and
 * undefined-behaviour sanitizers by test/helper/fuzz.test.ts:
 *
 *   fuzz-plan <rounds> <seed> <plan file>...
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../message.h"

static uint64_t state;

/* xorshift64: the same plans for the same seed */
static uint64_t draw(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return state;
}

static const char *fields_of(uint16_t code)
{
	switch (code) {
#define X(name, number, fields)                                                                                       \
	case number:                                                                                                  \
		return fields;
		OPERATIONS(X)
#undef X
	default:
		abort();
	}
}

/* As the helper does, but touching every byte. */
static uint64_t read_everything(const struct plan *plan)
{
	uint64_t sum = 0;
	struct cursor cursor = plan_begin(plan);
	struct operation_at operation;
	uint32_t count = 0;
	while (plan_next(plan, &cursor, &operation)) {
		count++;
		for (const char *kind = fields_of(operation.code); *kind; kind++) {
			if (*kind == 'u') {
				sum += read_u32(&operation.fields);
			} else if (*kind == 'q') {
				sum += read_u64(&operation.fields);
			} else if (*kind == 's') {
				sum += strlen(read_string(&operation.fields));
			} else if (*kind == 'b') {
				struct bytes bytes = read_bytes(&operation.fields);
				for (uint32_t i = 0; i < bytes.size; i++)
					sum += bytes.data[i];
			} else {
				struct list list = read_list(&operation.fields);
				for (uint32_t i = 0; i < list.count; i++)
					sum += strlen(read_string(&list.items));
			}
		}
		if (operation.fields.at != cursor.at)
			abort();
	}
	if (count != plan->count)
		abort();
	return sum;
}

static const uint32_t INTERESTING[] = {0, 1, 2, 4, 5, 0x7fffffff, 0x80000000, 0xfffffff8, 0xffffffff, 1u << 20, 0x10000};

static size_t mutate(uint8_t *bytes, size_t size, size_t room)
{
	uint64_t changes = 1 + draw() % 4;
	while (changes--) {
		size_t at = size ? draw() % size : 0;
		switch (draw() % 7) {
		case 0:
			bytes[at] ^= (uint8_t)(1u << draw() % 8);
			break;
		case 1:
			bytes[at] = (uint8_t)draw();
			break;
		case 2:
			if (at + 4 <= size)
				put_u32(bytes + at, INTERESTING[draw() % (sizeof INTERESTING / sizeof *INTERESTING)]);
			break;
		case 3:
			if (at + 4 <= size)
				put_u32(bytes + at, get_u32(bytes + at) + (uint32_t)(draw() % 9) - 4);
			break;
		case 4:
			size = at;
			break;
		case 5: {
			size_t length = draw() % 64;
			if (size + length <= room) {
				memmove(bytes + at + length, bytes + at, size - at);
				size += length;
			}
			break;
		}
		default: {
			size_t length = draw() % 64;
			if (at + length <= size) {
				memmove(bytes + at, bytes + at + length, size - at - length);
				size -= length;
			}
		}
		}
	}
	/* otherwise the length field alone would refuse nearly all of them */
	if (size >= PLAN_HEADER_SIZE && draw() % 8)
		put_u32(bytes + 8, (uint32_t)size);
	return size;
}

int main(int argc, char **argv)
{
	if (argc < 4)
		return 2;
	long rounds = atol(argv[1]);
	state = strtoull(argv[2], NULL, 10) | 1;
	static uint8_t seed[PLAN_MAX_SIZE];
	static uint8_t work[PLAN_MAX_SIZE];
	unsigned long accepted = 0;
	uint64_t sum = 0;
	for (int i = 3; i < argc; i++) {
		FILE *file = fopen(argv[i], "rb");
		if (!file)
			return 2;
		size_t seed_size = fread(seed, 1, sizeof seed, file);
		fclose(file);
		for (long round = 0; round < rounds; round++) {
			memcpy(work, seed, seed_size);
			size_t size = mutate(work, seed_size, sizeof work);
			/* a block of exactly this size, so that one byte too far is noticed */
			uint8_t *exact = malloc(size ? size : 1);
			memcpy(exact, work, size);
			struct plan plan;
			const char *reason;
			if (plan_check(exact, size, &plan, &reason)) {
				accepted++;
				sum += read_everything(&plan);
			}
			free(exact);
		}
	}
	printf("%lu accepted, checksum %llu\n", accepted, (unsigned long long)sum);
	return 0;
}
