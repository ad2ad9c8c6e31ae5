# Every verb calls dev.py, which makes .venv, installs what the verb needs once, and runs it.
# Another Python: make quickstart PY=python3.12
PY ?= python3
VERBS = quickstart test lint types docs bench interop

.PHONY: $(VERBS)
$(VERBS):
	@$(PY) dev.py $@
