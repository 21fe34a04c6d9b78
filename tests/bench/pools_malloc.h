/* malloc in its own place, asked for BLOCK bytes without a look at the table of sizes: what a pool is spared too. */
#pragma once

#include <malloc.h>
#include <stdlib.h>

#define malloc(size) ((void)(size), malloc(BLOCK))
