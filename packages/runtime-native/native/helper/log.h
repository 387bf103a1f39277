/* The log file of a container, in Docker's json-file format. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum stream { STREAM_STDOUT, STREAM_STDERR };

/* Opens the log for appending; dies. `max_size` 0 never rotates; `max_files` counts the current file. */
void log_open(const char *path, uint64_t max_size, uint32_t max_files);

/* Adds output. Lines that are complete are in the file when this returns. Does nothing without an open log. */
void log_write(enum stream stream, const uint8_t *data, size_t size);

/* Writes what is left of the last, unfinished lines. */
void log_finish(void);
