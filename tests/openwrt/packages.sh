# openwrt/test-package, the packages: opened by programs that are not ours, and packed twice.
# shellcheck shell=bash
# shellcheck disable=SC2154 # openwrt/test-package sets them: here, program, root, work.

# A tree of its own, as if unpacked from somewhere, without its history.
copy_tree() {
  mkdir -p "$1"
  git ls-files -z Cargo.toml openwrt | xargs -0 cp --parents -t "$1"
}

package() {
  echo "$work/packages/shimmer_$version-r${release}_$1.ipk"
}

# The binaries: mipsel's is real. What is packed is the same for all, so its bytes do for the others.
place_binaries() {
  local target binary=target/mipsel-unknown-linux-musl/router/shimmer
  [[ -x $binary ]] || openwrt/build mipsel-unknown-linux-musl
  for target in mipsel-unknown-linux-musl mips-unknown-linux-musl armv7-unknown-linux-musleabihf \
    aarch64-unknown-linux-musl arm-unknown-linux-musleabi; do
    install -D "$binary" "$work/binaries/$target/router/shimmer"
  done
}

pack() {
  local folder=$1 out=$2
  shift 2
  CARGO_TARGET_DIR=$work/binaries OUT=$out SOURCE_DATE_EPOCH=1794000000 "$folder/openwrt/pack" "$@"
}

test_ipk() {
  local arch binary=$work/binaries/mipsel-unknown-linux-musl/router/shimmer
  expect "pack: all targets" pack "$root" "$work/packages"
  for arch in mipsel_24kc mips_24kc arm_cortex-a7_neon-vfpv4 aarch64_cortex-a53 arm_arm1176jzf-s_vfp; do
    expect "ipk for $arch: every entry, by Python" python3 "$here/packages.py" \
      "$(package "$arch")" "$arch" "$version-r$release" 1794000000 "$binary" "$root"
  done
  expect "ipk: is no ar archive" fails ar t "$(package mips_24kc)"
  expect "ipk: the parts, by tar" \
    test "$(tar -tzf "$(package mips_24kc)" | tr '\n' ' ')" = './debian-binary ./data.tar.gz ./control.tar.gz '
  mkdir "$work/control"
  tar -xzOf "$(package mips_24kc)" ./control.tar.gz | tar -xz -C "$work/control"
  expect "ipk: the recipe's text is the package's" \
    test "$(make_recipe say)" = \
    "shimmer $version $release | $(field License) | $(field Maintainer) | $(field Section) | $(field Require-User) | $(<"$work/control/conffiles")"

  expect "pack: an unknown target is refused" fails pack "$root" "$work/packages" mips64-unknown-linux-musl
}

field() {
  sed -n "s/^$1: //p" "$work/control/control"
}

test_scripts() {
  local install=$work/install
  mkdir -p "$install/lib"
  # shellcheck disable=SC2016 # They are for the script.
  printf '%s\n' 'default_postinst() { echo "postinst $1 $2"; }' 'default_prerm() { echo "prerm $1 $2"; }' \
    >"$install/lib/functions.sh"
  expect "postinst hands over to OpenWrt's" \
    test "$(IPKG_INSTROOT=$install busybox ash "$work/control/postinst" configure)" = "postinst $work/control/postinst configure"
  expect "prerm hands over to OpenWrt's" \
    test "$(IPKG_INSTROOT=$install busybox ash "$work/control/prerm" remove)" = "prerm $work/control/prerm remove"
  mkdir -p "$install/etc/init.d"
  expect "prerm takes the rules away as the recipe's does" \
    test "$(tail -n 1 "$work/control/prerm")" = "$(make_recipe prerm | tail -n 1)"
  expect "postinst is quiet when told so" \
    test -z "$(IPKG_NO_SCRIPT=1 IPKG_INSTROOT=$install busybox ash "$work/control/postinst")"
  expect "postinst is no harm where there is no OpenWrt" env IPKG_INSTROOT="$work" busybox ash "$work/control/postinst"
}

# Other folders, another umask, other times of the files, another locale: the same bytes.
test_same_bytes() {
  local name
  copy_tree "$work/one"
  copy_tree "$work/another folder"
  chmod -R go-rwx "$work/another folder"
  find "$work/another folder" -exec touch --date=2001-01-01 {} +
  expect "pack: in one folder" pack "$work/one" "$work/packages.one"
  expect "pack: in another folder" env LC_ALL=C.UTF-8 TZ=Asia/Tokyo bash -c 'umask 077; "$@"' - \
    env CARGO_TARGET_DIR="$work/binaries" OUT="$work/packages.another" SOURCE_DATE_EPOCH=1794000000 \
    "$work/another folder/openwrt/pack"
  expect "pack: both give the same files" \
    test "$(ls "$work/packages.one")" = "$(ls "$work/packages.another")"
  for name in "$work"/packages.one/*; do
    name=${name##*/}
    expect "pack: the same bytes: $name" cmp "$work/packages.one/$name" "$work/packages.another/$name"
  done
}

# The feed's recipe, with a build system that does what it is told and no more.
make_recipe() {
  make --no-print-directory -C "$root/openwrt" TOPDIR="$here/feed" WORK="$work/feed" "$@"
}

# What Cargo.toml says of the routers' profile, and of the one that it inherits, as cargo's options.
router_profile() {
  local profile
  for profile in router release; do
    sed -n "/^\[profile.$profile\]\$/,/^\$/ s/^\([a-z-]*\) = \(.*\)\$/--config profile.release.\1=\2/p" \
      "$root/Cargo.toml"
  done | grep -v inherits | paste -s -d ' '
}

test_recipe() {
  local binary=$work/binaries/mips-unknown-linux-musl/router/shimmer
  install -D "$binary" "$work/feed/built/bin/shimmer"
  expect "recipe: prepares the source" make_recipe prepare
  expect "recipe: all of it that cargo wants" cargo metadata --offline --locked --no-deps --format-version 1 \
    --manifest-path "$work/feed/build/Cargo.toml"
  expect "recipe: builds without what costs flash, by Cargo.toml's profile" \
    test "$(make_recipe compile)" = "cargo install --path $work/feed/build/ --no-default-features $(router_profile)"
  expect "recipe: installs" make_recipe install
  mkdir "$work/data"
  tar -xzOf "$(package mips_24kc)" ./data.tar.gz | tar -xz -C "$work/data"
  expect "recipe: installs what is in the package" diff -r "$work/feed/installed" "$work/data"
  expect "recipe: with the same modes" diff <(modes "$work/feed/installed") <(modes "$work/data")

  mkdir "$work/bin"
  ln -s "$program" "$work/bin/shimmer"
  ln -s "$program" "$work/bin/shimmerd"
  expect "test.sh: passes with this version" env PATH="$work/bin:$PATH" openwrt/test.sh shimmer "$version"
  expect "test.sh: shows the version" \
    matches "$(PATH="$work/bin:$PATH" openwrt/test.sh shimmer "$version")" "^shimmer $version"
  expect "test.sh: fails with another" fails env PATH="$work/bin:$PATH" openwrt/test.sh shimmer 9.9.9
  expect "test.sh: has no quiet grep" fails grep -E 'grep.* (-[a-zA-Z]*q|--quiet)' openwrt/test.sh
}

modes() {
  (cd "$1" && find . -printf '%P %m\n' | tail -n +2 | LC_ALL=C sort)
}

# An .apk where it can be made, and a word where not.
test_apk() {
  local name=shimmer-$version-r${release}_mips_24kc.apk
  pack "$root" "$work/packages" mips-unknown-linux-musl 2>"$work/pack-said" >/dev/null
  if [[ -e $work/packages/$name ]]; then
    apk adbdump "$work/packages/$name" >"$work/adb"
    expect "apk: its name" grep -qx "  name: shimmer" "$work/adb"
    expect "apk: its version" grep -qx "  version: $version-r$release" "$work/adb"
    expect "apk: its architecture" grep -qx "  arch: mips_24kc" "$work/adb"
    expect "apk: all is root's" fails grep -E '(user|group): [^r]' "$work/adb"
    expect "apk: the lists that OpenWrt reads" \
      test "$(grep -cE 'name: shimmer\.(list|conffiles|conffiles_static|rusers)$' "$work/adb")" = 4
  else
    expect "apk: where there is none, a line says so" \
      test "$(cat "$work/pack-said")" = "openwrt/pack: no .apk is made: there is no apk-tools 3 here"
  fi
}

# opkg itself, where it is installed: into a folder and out again.
test_opkg() {
  local there=$work/offline
  command -v opkg >/dev/null || {
    echo "no opkg here: not installed by it"
    return
  }
  mkdir -p "$there"/{etc/opkg,usr/lib/opkg,var/lock,tmp}
  printf 'dest root /\narch all 1\narch mips_24kc 10\n' >"$there/etc/opkg.conf"
  printf 'Package: libc\nVersion: 1\nArchitecture: all\nStatus: install ok installed\n' >"$there/usr/lib/opkg/status"
  expect "opkg: installs" opkg --offline-root "$there" -f "$there/etc/opkg.conf" install "$(package mips_24kc)"
  expect "opkg: the program is there" cmp "$there/usr/sbin/shimmer" "$work/binaries/mips-unknown-linux-musl/router/shimmer"
  expect "opkg: the configuration is private" is_mode "$there/etc/config/shimmer" 600
  [[ -e $there/etc/config/shimmer ]] || return 0
  echo "# changed" >>"$there/etc/config/shimmer"
  expect "opkg: removes" opkg --offline-root "$there" -f "$there/etc/opkg.conf" remove shimmer
  expect "opkg: the program is gone" test ! -e "$there/usr/sbin/shimmer"
  expect "opkg: a configuration that was changed stays" test -e "$there/etc/config/shimmer"
}

test_packages() {
  local version release
  version=$(sed -n 's/^PKG_VERSION:=//p' openwrt/Makefile)
  release=$(sed -n 's/^PKG_RELEASE:=//p' openwrt/Makefile)
  place_binaries
  test_ipk
  test_scripts
  test_same_bytes
  test_recipe
  test_apk
  test_opkg
}
