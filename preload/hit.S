/*
 * The sequence begins behind the entries, and ends with the one store that does it: every pop and push ends there.
 *
 *     malloc: ...          begin: pop for malloc    jump            abort: told by its registers who was at work,
 *     new:    ... jump            pop for new       jump                   that one tells the kernel, and begins again
 *     free:   ... jump            push for free
 *                          commit: bin->top = top
 *                          end:    return
 *
 * The kernel forgets what rseq_cs says when it interrupts a thread elsewhere, so each asks first, within the sequence,
 * whether it still does; as a rule it does.
 *
 * Who was at work: each entry puts the same three addresses in the same three registers, in an order of its own. Argument
 * and index stay where they are until the end.
 *
 * A jump that is taken costs a third of a nanosecond: malloc's entry leads straight to the sequence and free's part
 * straight to the commit (seq-64-1k 7.3 -> 6.5 ns a pair, pair-64 6.5 -> 5.9; with a store each they took 6.0 and 5.6). That
 * free should have neither jump, and be known by not having malloc's registers, which malloc would clear on its way out, was
 * no quicker.
 */
#include "hit.h"

#ifdef HIT_IN_ASSEMBLER

/* %rdi argument   %rsi place   %r8 cache   %r9 index into a table of places   %r10 scratch, top */

.macro ENTRY name
    .globl \name
    .type \name, @function
    .balign 16
\name:
    .cfi_startproc
.endm

/* Says who is at work. Behind a range check, whose flags it leaves. */
.macro MARK word self sequence
    movq restart_word(%rip), \word
    movq cache_self@GOTTPOFF(%rip), \self
    leaq hit_sequence(%rip), \sequence
.endm

/* An entry that lies elsewhere: on it goes if "below", and to its helper if not. */
.macro GO_ON name missed
    jb hit_\name
    jmp \missed
    .cfi_endproc
    .size \name, . - \name
.endm

.macro TELL name word sequence
    .cfi_startproc
tell_\name:
    movq \sequence, %fs:(\word)
    jmp hit_\name
    .cfi_endproc
.endm

/* A part of the sequence: on it goes if the kernel still knows. */
.macro IF_TOLD name word sequence
hit_\name:
    cmpq \sequence, %fs:(\word)
    jne tell_\name
.endm

/* `places` in %r10; `bound` is where the bin is empty or full. */
.macro FIND_TOP self bound missed
    movzwl (%r10, %r9, 2), %esi
    movq %fs:(\self), %r8
    movq HIT_CACHE_TOP(%r8, %rsi), %r10
    cmpq \bound(%r8, %rsi), %r10
    je \missed
.endm

.macro ENTER_POP name word self sequence
    ENTRY \name
    leaq 15(%rdi), %r9
    shrq $4, %r9
    cmpq pooled_end(%rip), %rdi
    MARK \word \self \sequence
.endm

.macro POP name missed word self sequence
    IF_TOLD \name \word \sequence
    leaq class_map(%rip), %r10
    FIND_TOP \self HIT_CACHE_BASE \missed
    movq -8(%r10), %rax
    subq $8, %r10
    jmp hit_commit
.endm

.macro ENTER_PUSH name word self sequence
    ENTRY \name
    movq %rdi, %r9
    subq region + HIT_REGION_BASE(%rip), %r9
    shrq $16, %r9
    cmpq region + HIT_REGION_UNITS(%rip), %r9
    MARK \word \self \sequence
.endm

.macro PUSH name missed word self sequence
    IF_TOLD \name \word \sequence
    movq region + HIT_REGION_PLACES(%rip), %r10
    FIND_TOP \self HIT_CACHE_LIMIT \missed
    movq %rdi, (%r10) /* above the top: nobody's until the commit */
    addq $8, %r10
.endm

.macro ALIAS name other
    .globl \name
    .type \name, @function
    .set \name, \other
.endm

    .text
    ENTER_POP _Znwm %rdx %rcx %r11
    GO_ON _Znwm new_counted
    ENTER_PUSH _ZdlPv %r11 %rdx %rcx
    GO_ON _ZdlPv delete_missed
    ENTER_PUSH free %r11 %rcx %rdx
    GO_ON free free_missed
    TELL malloc %rcx %r11
    TELL _Znwm %rdx %r11
    TELL _ZdlPv %r11 %rcx
    TELL free %r11 %rdx

    .section .text.sequence, "ax", @progbits
    .balign 64
    ENTER_POP malloc %rcx %rdx %r11
    jae malloc_counted
hit_begin:
    POP malloc malloc_counted %rcx %rdx %r11
    .size malloc, . - malloc
    POP _Znwm new_counted %rdx %rcx %r11
    PUSH _ZdlPv delete_missed %r11 %rdx %rcx
    jmp hit_commit
    PUSH free free_missed %r11 %rcx %rdx
hit_commit:
    movq %r10, HIT_CACHE_TOP(%r8, %rsi)
hit_end:
    ret
    .cfi_endproc

    ALIAS __libc_malloc malloc
    ALIAS __libc_free free
    ALIAS cfree free
    .hidden hit_delete
    ALIAS hit_delete _ZdlPv

    .section .data.rel.ro.restart, "aw", @progbits
    .balign 32
hit_sequence: /* a struct rseq_cs */
    .long 0, 0
    .quad hit_begin, hit_end - hit_begin, hit_abort

    .section .text.restart, "ax", @progbits
    .cfi_startproc
    .byte 0x0f, 0xb9, 0x3d /* with the signature that the kernel wants to see, an instruction that traps */
    .long 0x53053053
hit_abort:
    movq restart_word(%rip), %r8
    cmpq %r8, %rcx
    je tell_malloc
    cmpq %r8, %rdx
    je tell__Znwm
    leaq hit_sequence(%rip), %r8
    cmpq %r8, %rdx
    je tell_free
    jmp tell__ZdlPv
    .cfi_endproc

#endif

    .section .note.GNU-stack, "", @progbits
