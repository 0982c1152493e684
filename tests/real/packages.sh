# What has to be installed. (Sourced by tests/real/run and openwrt/test.)
# shellcheck shell=bash

# install_packages <TABLE: the packages of the commands that are missing. A line is a command and its package.
install_packages() {
  local missing=() command package
  while read -r command package; do
    [[ -n $(PATH=$PATH:/usr/sbin:/sbin type -P "$command") ]] || missing+=("$package")
  done
  [[ ${#missing[@]} -gt 0 ]] || return 0
  local apt=(apt-get -q -y -o DPkg::Lock::Timeout=300)
  export DEBIAN_FRONTEND=noninteractive
  "${apt[@]}" update
  "${apt[@]}" install --no-install-recommends "${missing[@]}"
}
