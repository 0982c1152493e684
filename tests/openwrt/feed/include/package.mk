# The package's own part of a recipe, as targets.
define BuildPackage
  $(eval $(call Package/$(1)))

prepare:
	$$(call Build/Prepare)

compile:
	$$(call Build/Compile)

install:
	$$(call Package/$(1)/install,$(WORK)/installed)

say:
	@echo '$(PKG_NAME) $(PKG_VERSION) $(PKG_RELEASE) | $(PKG_LICENSE) | $(PKG_MAINTAINER) | $(SECTION) | $(USERID) | $(strip $(Package/$(1)/conffiles))'
endef

# The script, by the environment: it has lines.
prerm: export SCRIPT = $(Package/shimmer/prerm)
prerm:
	@printenv SCRIPT
