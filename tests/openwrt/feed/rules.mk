# Stands in for OpenWrt's build system, as far as it takes to see what the recipe says and installs.

INCLUDE_DIR := $(TOPDIR)/include
PKG_BUILD_DIR := $(WORK)/build
PKG_INSTALL_DIR := $(WORK)/built
RUST_ARCH_DEPENDS := @(aarch64||arm||mips||mipsel)
INSTALL_DIR := install -d -m0755
INSTALL_BIN := install -m0755
INSTALL_CONF := install -m0600
INSTALL_DATA := install -m0644
LN := ln -sf
CP := cp -fpR
