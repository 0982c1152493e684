# Says how cargo would be called.
define Build/Compile/Cargo
	@echo cargo install --path $(PKG_BUILD_DIR)/$(strip $(1)) $(strip $(2))
endef

define RustBinPackage
endef
