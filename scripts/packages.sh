# Debian packages that the scripts need; sourced, not run.
#   ensure_packages NAME…   installs missing packages
#   ensure_rust             checks that Rust is installed and recent enough

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() { printf '%s: %s\n' "${0##*/}" "$*" >&2; exit 1; }

PACKAGES_BUILD="gcc libc6-dev protobuf-compiler libprotobuf-dev"
PACKAGES_RACK="etcd-server etcd-client qemu-system-x86 seabios ovmf ipxe ipxe-qemu openipmi ipmitool socat iproute2 nftables ethtool"
PACKAGES_IMAGE="cpio kmod gzip zstd mtools dosfstools gdisk fdisk util-linux syslinux syslinux-common syslinux-utils systemd-boot-efi"
PACKAGES_DEBIAN="mmdebstrap e2fsprogs"
PACKAGES_TEST="busybox freeipmi-tools isc-dhcp-client curl procps python3-minimal python3-grpcio grpc-proto \
udev dmidecode lshw parted pciutils hdparm bsdextrautils genisoimage"

ensure_packages() {
    local missing=() name
    for name in "$@"; do
        dpkg-query --show --showformat '${db:Status-Status}\n' "$name" 2>/dev/null | grep -qx installed || missing+=("$name")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" = 0 ] || die "these Debian packages are missing, run as root or install them: ${missing[*]}"
    say "installing Debian packages: ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    local log; log=$(mktemp)
    apt-get update >"$log" 2>&1 || { cat "$log" >&2; die "apt-get update failed"; }
    # A qemu-utils from elsewhere (backports) keeps Debian's own QEMU away; the release's version goes with it.
    local extra=()
    if dpkg-query --show qemu-utils >/dev/null 2>&1; then
        extra=("qemu-utils/$(. /etc/os-release; echo "${VERSION_CODENAME:-stable}")")
    fi
    apt-get install -y --no-install-recommends "${missing[@]}" >"$log" 2>&1 ||
        apt-get install -y --no-install-recommends --allow-downgrades "${extra[@]}" "${missing[@]}" >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; die "apt-get install failed; see above"; }
    rm -f "$log"
}

RUST_NEEDED=1.90

ensure_rust() {
    command -v cargo >/dev/null || [ ! -e "$HOME/.cargo/env" ] || . "$HOME/.cargo/env"
    command -v cargo >/dev/null || die "Rust $RUST_NEEDED or later is required; install it with rustup (https://rustup.rs)"
    local have; have=$(rustc --version | cut -d' ' -f2)
    [ "$(printf '%s\n%s\n' "$RUST_NEEDED" "$have" | sort -V | head -n 1)" = "$RUST_NEEDED" ] ||
        die "Rust $RUST_NEEDED or later is required, but $have is installed; update it with: rustup update stable"
}

# Runs a command with its output in a log; prints the end of the log if it fails.
quietly() {
    local log=$1; shift
    "$@" >"$log" 2>&1 || { tail -n 30 "$log" >&2; die "failed: $* (all of its output: $log)"; }
}
