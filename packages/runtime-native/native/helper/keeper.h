/* The keeper of a namespace; see keeper.c. */
#pragma once

int keep_namespace(const char *kind);
