# Sourced by image and image-debian, after debian.sh: boot loaders for BIOS and UEFI, and the files for an image.
# shellcheck shell=bash

# Kernel messages also go to the screen; the system's output goes to the serial port.
console="console=tty0 console=ttyS0,115200 quiet"

up_to_date() { # out inputs: whether the image is there and was made of these
  [ -s "$1" ] && [ "$(cat "$1.inputs" 2>/dev/null)" = "$2" ]
}

fill_boot_volume() { # volume kernel initrd options: puts into the FAT volume what BIOS (syslinux) and UEFI (systemd-boot) boot
  local volume=$1 files
  files=$(mktemp -d)
  cp "$2" "$files/vmlinuz"
  cp "$3" "$files/initrd.img"
  printf 'DEFAULT linux\nPROMPT 0\nTIMEOUT 1\nLABEL linux\n KERNEL /vmlinuz\n APPEND initrd=/initrd.img %s\n' "$4" >"$files/syslinux.cfg"
  printf 'timeout 0\ndefault ironmesh.conf\n' >"$files/loader.conf"
  printf 'title Ironmesh\nlinux /vmlinuz\ninitrd /initrd.img\noptions %s\n' "$4" >"$files/ironmesh.conf"
  cp "$(unpacked systemd-boot-efi)/usr/lib/systemd/boot/efi/systemd-bootx64.efi" "$files/BOOTX64.EFI"
  touch -d "@$SOURCE_DATE_EPOCH" "$files"/*
  export MTOOLS_SKIP_CHECK=1 TZ=UTC
  mmd -i "$volume" ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries ::/syslinux
  mcopy -m -i "$volume" "$files/vmlinuz" "$files/initrd.img" ::/ || fail "the boot volume is too small: --size"
  mcopy -m -i "$volume" "$files/syslinux.cfg" ::/syslinux/
  mcopy -m -i "$volume" "$files/loader.conf" ::/loader/
  mcopy -m -i "$volume" "$files/ironmesh.conf" ::/loader/entries/
  mcopy -m -i "$volume" "$files/BOOTX64.EFI" ::/EFI/BOOT/
  syslinux --install --directory /syslinux "$volume"
  rm -rf "$files"
}

finish_disk() { # disk: the code that BIOS runs; and a look at the table
  dd if="$(unpacked syslinux)/usr/lib/SYSLINUX/gptmbr.bin" of="$1" conv=notrunc bs=440 count=1 status=none
  sgdisk -v "$1" | grep -q 'No problems found' || fail "the partition table did not come out right"
}

publish() { # disk out inputs kernel-version: the image and what is beside it
  mkdir -p "$(dirname "$2")"
  rm -f "$2.inputs"
  gzip -n -6 <"$1" >"$2"
  (cd "$(dirname "$2")" && sha256sum "$(basename "$2")") >"$2.sha256"
  stat -c %s "$1" >"$2.size"
  echo "$3" >"$2.inputs"
  say "$2: kernel $4, $(stat -c %s "$2") bytes compressed, $(cat "$2.size") uncompressed"
  cut -d' ' -f1 "$2.sha256"
}
