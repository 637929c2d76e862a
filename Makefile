# Environments, tests, lint and demo from a fresh clone. `make` alone lists the targets.
#
# Without ROS: .venv holds everything but ROS; .venv-kilted and .venv-jazzy hold the package index's
# ROS wheels and see .venv through a .pth file. With a sourced ROS 2, .venv sees that one instead.
# Stamp files remember what was installed: a second run costs nothing, a changed requirements file
# installs again.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
MAKEFLAGS += --no-builtin-rules --no-print-directory
.DELETE_ON_ERROR:
.SECONDARY:

PYTHON ?= python3
BASE := .venv
COLCON := .venv-colcon

# A sourced ROS 2 counts when this Python can import it, not merely when a variable is set.
SOURCED := $(if $(AMENT_PREFIX_PATH),$(shell $(PYTHON) -c 'import rclpy' 2>/dev/null && echo "$${ROS_DISTRO:-ros}"))
ifneq ($(SOURCED),)
  DISTROS := $(SOURCED)
  ROS_ENVS :=
  DEMO_ENV := $(BASE)
  VENV_FLAGS := --system-site-packages
  ros_env = $(BASE)
else
  DISTROS := kilted jazzy
  ROS_ENVS := $(DISTROS:%=.venv-%)
  DEMO_ENV := .venv-kilted
  VENV_FLAGS :=
  ros_env = .venv-$(1)
endif
# A .venv that does not see the system's packages is made anew, once, when ROS is sourced later.
REMAKE := $(if $(SOURCED),$(shell grep -ls 'system-site-packages = false' $(BASE)/pyvenv.cfg))

PACKAGE_FILES := setup.py setup.cfg requirements.txt

.PHONY: help
help: ## List the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 10

.PHONY: demo
demo: venv ## Real photographs through the real node; pictures and a table at the end
	@echo '== demo: camera_player and depth_node as processes of their own'
	@$(DEMO_ENV)/bin/lotus2 demo $(DEMO_ARGS)

.PHONY: test
test: venv $(COLCON)/.made ## All tests: model and geometry once, ROS on one distribution, what may differ on others
	@$(BASE)/bin/python test/run_parts.py --base $(BASE)/bin/python \
	  $(foreach d,$(DISTROS),--ros $(d)=$(call ros_env,$(d))/bin/python)

.PHONY: lint
lint: venv ## ruff check, ruff format --check, mypy
	@failed=0; \
	for tool in 'ruff check' 'ruff format --check' 'mypy lotus2_ros'; do \
	  echo "== $$tool"; $(BASE)/bin/$$tool || failed=1; \
	done; exit $$failed

.PHONY: venv
venv: $(BASE)/.package $(ROS_ENVS:%=%/.package) ## Make or update the Python environments

.PHONY: clean
clean: ## Remove what builds, tests and the demo leave; environments stay
	@echo '== clean'
	@rm -rf build install log demo_output *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find lotus2_ros test launch -name __pycache__ -prune -exec rm -rf {} +

.PHONY: distclean
distclean: clean ## clean, and remove the Python environments
	@echo '== distclean: removing environments'
	@rm -rf $(BASE) .venv-kilted .venv-jazzy $(COLCON)

# --- environments

# $(call make_venv,folder,flags): a virtual environment, made anew if its Python does not run.
define make_venv
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || { \
	  echo "$$($(PYTHON) --version 2>&1) is not one of 3.11 to 3.13: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'python cannot make virtual environments: apt install python3-venv' >&2; exit 1; }
	$(1)/bin/python -c '' 2>/dev/null || { \
	  echo '== $(1): making a virtual environment'; rm -rf $(1); $(PYTHON) -m venv $(2) $(1); }
endef

# $(call pip_install,folder,arguments): three tries, one line a package; all of it on failure.
define pip_install
	for try in 1 2 3; do \
	  $(1)/bin/python -m pip --disable-pip-version-check --retries 5 install --no-input \
	    --progress-bar off $(2) 2>&1 | tee $(1)/pip.log \
	    | sed -u -n 's/^Collecting \([^ ]*\).*/   \1/p' && break; \
	  if [ $$try = 3 ]; then tail -n 30 $(1)/pip.log >&2; \
	    echo '$(1): installing failed, see $(1)/pip.log' >&2; exit 1; fi; \
	  echo "   try $$try failed, trying again"; sleep 5; \
	done
endef

$(BASE)/.made: requirements-test.txt $(if $(REMAKE),remake)
	@$(call make_venv,$(BASE),$(VENV_FLAGS))
	@echo '== $(BASE): installing requirements-test.txt (some minutes and 2 GB the first time)'
	@$(call pip_install,$(BASE),-r requirements-test.txt)
	@touch $@

.PHONY: remake
remake:
	@echo '== $(BASE): ROS $(SOURCED) is sourced now, and this environment cannot see it'
	@rm -rf $(BASE)

.venv-%/.made: requirements-ros-%.txt $(BASE)/.made
	@$(call make_venv,.venv-$*,)
	@echo '== .venv-$*: installing requirements-ros-$*.txt'
	@$(call pip_install,.venv-$*,-r requirements-ros-$*.txt $(shell grep '^setuptools==' requirements-test.txt))
# Relative to the folder that holds it, so that a moved clone keeps its environments together.
	@.venv-$*/bin/python -c "import os, sysconfig; \
	  here = sysconfig.get_path('purelib'); base = os.path.join('$(CURDIR)', '$(BASE)'); \
	  there = sysconfig.get_path('purelib', vars={'base': base, 'platbase': base}); \
	  open(os.path.join(here, 'zz_base.pth'), 'w').write(os.path.relpath(there, here) + '\n')"
	@touch $@

$(COLCON)/.made: requirements-colcon.txt
	@$(call make_venv,$(COLCON),)
	@echo '== $(COLCON): installing requirements-colcon.txt'
	@$(call pip_install,$(COLCON),-r requirements-colcon.txt)
	@touch $@

# The package itself, editable, with its commands. An overlay needs its own: .pth files of folders
# that a .pth file names are not read.
%/.package: %/.made $(PACKAGE_FILES)
	@echo '== $*: installing lotus2_ros, editable'
	@$(call pip_install,$*,--no-deps --no-build-isolation --force-reinstall -e .)
	@touch $@
