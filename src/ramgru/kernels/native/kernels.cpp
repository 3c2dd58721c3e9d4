// All kernels of one instruction set; the build compiles this file once for each set.
#include "entry.h"
#include "../address/product_keys.h"
#include "../address/short_convolution.h"
#include "../key_attention/key_attention.h"
#include "../layer_step/layer_step.h"
#include "../memory_scan/scan.h"
#include "../projection/gated_sum.h"
#include "../recurrence/gru.h"
#include "../recurrence/scan.h"

RAMGRU_EXPORT(gated_sum_forward, GatedSumForward)
RAMGRU_EXPORT(gated_sum_backward, GatedSumBackward)
RAMGRU_EXPORT(gru_forward, GruForward)
RAMGRU_EXPORT(gru_backward, GruBackward)
RAMGRU_EXPORT_WIDE(key_attention_backward, KeyAttentionBackward)
RAMGRU_EXPORT_WIDE(layer_step, LayerStep)
RAMGRU_EXPORT_WIDE(linear_scan, LinearScan)
RAMGRU_EXPORT(memory_scan_forward, MemoryForward)
RAMGRU_EXPORT(memory_scan_backward, MemoryBackward)
RAMGRU_EXPORT(memory_step, MemoryStep)
RAMGRU_EXPORT(mingru_forward, MingruForward)
RAMGRU_EXPORT(mingru_backward, MingruBackward)
RAMGRU_EXPORT_WIDE(product_keys_forward, ProductKeysForward)
RAMGRU_EXPORT_WIDE(product_keys_backward, ProductKeysBackward)
RAMGRU_EXPORT_WIDE(short_convolution_forward, ShortConvolutionForward)
RAMGRU_EXPORT_WIDE(short_convolution_backward, ShortConvolutionBackward)
