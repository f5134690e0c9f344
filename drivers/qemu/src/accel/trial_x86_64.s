# The bytes of trial.rs, X86_64: as --64 trial_x86_64.s -o t.o && objcopy -O binary -j .text t.o t.bin
        .code16
start:  cli
        lgdtl   %cs:gdtr - start
        movl    %cr0, %eax
        orb     $1, %al
        movl    %eax, %cr0
        ljmpl   $8, $(0xffff0000 + protected - start)
        .code32
protected:
        movw    $16, %ax
        movw    %ax, %ds
        movw    %ax, %es
        movw    %ax, %ss
        movl    $0x2003, 0x1000         # PML4[0]
        movl    $0x3003, 0x2000         # PDPT[0]
        movl    $0x4003, 0x2018         # PDPT[3]
        movl    $0x83, 0x3000           # first 2 MiB of RAM
        movl    $0xffe00083, 0x4ff8     # last 2 MiB below 4 GiB: this ROM
        movl    %cr4, %eax
        orb     $0x20, %al
        movl    %eax, %cr4
        movl    $0x1000, %eax
        movl    %eax, %cr3
        movl    $0xc0000080, %ecx
        rdmsr
        orb     $1, %ah
        wrmsr
        movl    %cr0, %eax
        orl     $0x80000000, %eax
        movl    %eax, %cr0
        ljmpl   $24, $(0xffff0000 + long_mode - start)
        .code64
long_mode:
        movl    $0x8000, %esp
        movl    $(0xffff0000 + handler - start), %eax
        movw    %ax, 0x5030
        movw    $24, 0x5032
        movw    $0x8e00, 0x5034
        movw    $0xffff, 0x5036
        movw    $0xfff, 0x5ff6
        movl    $0x5000, 0x5ff8
        lidt    0x5ff6
        xorl    %ebx, %ebx
        int3
        movq    %cr3, %rax
        movq    %rax, %cr3
        movl    $100000000, %ecx
1:      decl    %ecx
        jnz     1b
        movl    %ebx, %eax
        outb    %al, $0xf4
2:      hlt
        jmp     2b
handler:
        addl    $21, %ebx
        iretq
        .balign 8
gdt:    .quad   0
        .quad   0x00cf9b000000ffff
        .quad   0x00cf93000000ffff
        .quad   0x00af9b000000ffff
gdtr:   .word   31
        .long   0xffff0000 + gdt - start
