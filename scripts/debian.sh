# Sourced by ramdisk, image and image-debian: Debian packages, unpacked into a cache; kernel modules; initramfs archives.
# shellcheck shell=bash

here=$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")
repository=$(dirname "$here")
cache=${IRONMESH_CACHE:-$repository/target/cache}
mkdir -p "$cache"
# Timestamp of all files in archives, so that the same inputs produce the same output.
export SOURCE_DATE_EPOCH=1704067200

say() { echo "$(basename "$0"): $*" >&2; }
fail() { say "$*"; exit 1; }

need() { # tool...: reports missing Debian packages
  local tool missing=()
  for tool; do PATH=$PATH:/usr/sbin:/sbin command -v "$tool" >/dev/null || missing+=("$tool"); done
  [ ${#missing[@]} = 0 ] || fail "missing: ${missing[*]} (Debian: apt-get install cpio kmod mtools dosfstools gdisk syslinux syslinux-common systemd-boot-efi gzip e2fsprogs mmdebstrap)"
}
PATH=$PATH:/usr/sbin:/sbin

unpacked() { # package: prints the folder that has its files; downloads it when its version is not in the cache
  local package=$1 version folder
  version=$(apt-cache policy "$package" | sed -n 's/^  Candidate: //p')
  [ -n "$version" ] && [ "$version" != "(none)" ] || fail "no package $package: run apt-get update"
  folder=$cache/$package-${version//[^A-Za-z0-9.+~-]/_}
  if [ ! -d "$folder" ]; then
    say "downloading $package $version"
    local work
    work=$(mktemp -d "$cache/.unpack.XXXXXX")
    (cd "$work" && apt-get -q -o APT::Sandbox::User=root download "$package=$version" >/dev/null) ||
      { rm -rf "$work"; fail "cannot download $package $version"; }
    dpkg -x "$work"/*.deb "$work/files"
    # A concurrent run may have been faster.
    mv -T "$work/files" "$folder" 2>/dev/null || [ -d "$folder" ] || fail "cannot make $folder"
    rm -rf "$work"
  fi
  echo "$folder"
}

kernel() { # linux-image-cloud-amd64 | linux-image-amd64: prints the folder of the kernel that it stands for
  local package folder version
  package=$(apt-cache depends "$1" | sed -n 's/^ *Depends: \(linux-image-[0-9].*\)/\1/p' | head -1)
  [ -n "$package" ] || fail "no package $1: run apt-get update"
  folder=$(unpacked "$package")
  version=$(kernel_version "$folder")
  if [ ! -e "$folder/lib/modules/$version/modules.dep" ]; then depmod -b "$folder" "$version"; fi
  echo "$folder"
}

kernel_version() { basename "$1"/lib/modules/*; }

copy_modules() { # kernel-folder root module...: each module with all that it needs; those not of this kernel are passed over
  local folder=$1 root=$2 version module file
  version=$(kernel_version "$folder")
  shift 2
  mkdir -p "$root/lib/modules/$version"
  for module; do
    modprobe -q -d "$folder" -S "$version" --show-depends "$module" 2>/dev/null || true
  done | sed -n 's/^insmod \([^ ]*\).*/\1/p' | sort -u | while read -r file; do
    install -D -m 644 "$file" "$root/${file#"$folder/"}"
  done
  cp "$folder/lib/modules/$version"/modules.{builtin,builtin.modinfo,order} "$root/lib/modules/$version/"
  depmod -b "$root" "$version"
}

copy_busybox() { # root: busybox with a link for each of its applets, and a udhcpc script
  local root=$1 busybox applet
  busybox=$(unpacked busybox-static)/bin/busybox
  mkdir -p "$root"/{bin,etc,proc,sys,dev,run,tmp,root,usr/share/udhcpc}
  ln -s bin "$root/sbin"
  cp "$busybox" "$root/bin/busybox"
  # A link named busybox would point to itself.
  for applet in $("$busybox" --list | grep -vx busybox); do ln -sf busybox "$root/bin/$applet"; done
  install -m 755 "$here/udhcpc.script" "$root/usr/share/udhcpc/default.script"
}

pack() { # root file: the root as a compressed initramfs, the same octets from the same files
  find "$1" -exec touch -h -d "@$SOURCE_DATE_EPOCH" {} +
  (cd "$1" && find . -print0 | LC_ALL=C sort -z | cpio --null -o -H newc -R 0:0 --reproducible --quiet) | gzip -n -9 >"$2"
}

sum_of() { # file...: one sum over the content of all
  cat -- "$@" | sha256sum | cut -d' ' -f1
}
