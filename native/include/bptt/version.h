#pragma once

#define BPTT_VERSION "0.1.0"
