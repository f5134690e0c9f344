# A guest that is small enough for an emulated emulator: a boot sector that counts. It takes the number from the machine's
# disk, and again and again adds one, writes it to the disk and tells it on the serial console, with the count of its
# boots. So memory, disk and console show where a machine has come to.
# Made by: as --32 counter.s -o counter.o && objcopy -O binary -j .text counter.o counter.bin
.intel_syntax noprefix
.code16
.text

.set HERE, 0x7c00                   # where a boot sector is loaded
.set CODE, 0x5a                     # after what a file system says of itself
.set SECTOR, 0x8000                 # what is on the disk: the number, the boots
.set CONSOLE, 0x3f8

    .org CODE
    xor ax, ax
    mov ds, ax
    mov ss, ax
    mov sp, HERE
    sti
    mov ah, 0x42                    # read
    call disk
    inc word ptr [SECTOR + 4]
again:
    inc dword ptr [SECTOR]
    mov ah, 0x43                    # write
    call disk
    mov al, 'b'
    movzx ebx, word ptr [SECTOR + 4]
    call tell
    mov al, 'c'
    mov ebx, [SECTOR]
    call tell
    mov al, 10
    call put
    mov cx, 4
tick:
    hlt                             # until the clock's next tick: the emulated CPU has other work, too
    loop tick
    jmp again

# INT 13h's extensions (EDD): the second disk's sector 64, between its partition table and its first partition.
disk:
    mov dl, 0x81
    mov si, offset HERE + packet
    int 0x13
    jc failed
    ret
failed:
    mov al, 'x'
    call put
    jmp failed

# Writes the letter in al and the number in ebx to the serial console.
tell:
    call put
    mov cx, 8
digit:
    rol ebx, 4
    mov al, bl
    and al, 15
    add al, '0'
    cmp al, '9'
    jbe decimal
    add al, 'a' - '9' - 1
decimal:
    call put
    loop digit
    ret

put:
    mov ah, al
    mov dx, CONSOLE + 5
full:
    in al, dx
    test al, 0x20
    jz full
    mov al, ah
    mov dx, CONSOLE
    out dx, al
    ret

packet:
    .byte 16, 0
    .short 1                        # one sector
    .short SECTOR, 0                # to or from here
    .quad 64
    .org 0x1fe
    .byte 0x55, 0xaa
