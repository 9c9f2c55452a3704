# Everything happens in .venv, which the first command makes. Needed: make and Python 3.11 or newer.
#
#   make demo     run the demo                    make lint     style, types, imports, migrations
#   make serve    open the admin on it            make docs     the documentation as HTML
#   make test     the suite on SQLite and         make wheel    the distribution
#                 on PostgreSQL                   make clean    remove all that was made
#   make browser  the admin in Chromium, which    make screenshots   the pictures of the admin
#                 has to be there                                    in docs/screenshots
#   make bench    this package and its peers, side by side; half an hour
#
#   make reliability  the scorecard at full size  make mutants  rules switched off: who notices?
#   make rounds       the suite until twenty rounds in a row were green, on both databases
#   make audit        known weaknesses of what is installed (needs the network)
#
# Another interpreter: make PYTHON=python3.13 demo. Options of pytest: make PYTEST_ARGS="-x" test.
# Options of the benchmarks: make BENCH_ARGS="--quick" bench.

PYTHON ?= python3
VENV ?= .venv
ADDRESS ?= 127.0.0.1:8000
PYTEST_ARGS ?= -n auto
BENCH_ARGS ?=

RUN = $(VENV)/bin/python
MANAGE = $(RUN) testproject/manage.py
READY = $(VENV)/.ready

.PHONY: help demo serve test browser screenshots bench lint docs wheel reliability mutants rounds audit clean

help:
	@sed -n 's/^# \{0,1\}//p' Makefile

$(READY): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	    echo "Python 3.11 or newer is needed; name one: make PYTHON=python3.13" >&2; exit 1; }
	@echo "Setting up $(VENV); this takes a minute."
	@test -x $(VENV)/bin/pip || $(PYTHON) -m venv --clear $(VENV)
	@$(RUN) -m pip install -qq --disable-pip-version-check -e '.[dev]'
	@touch $@

demo: $(READY)
	@$(MANAGE) migrate --verbosity 0
	@$(MANAGE) demo

ENSURE_ADMIN = from django.contrib.auth import get_user_model; users = get_user_model().objects; \
  users.filter(username="admin").exists() or users.create_superuser("admin", password="admin")

serve: $(READY)
	@$(MANAGE) migrate --verbosity 0
	@$(MANAGE) shell --no-imports --command '$(ENSURE_ADMIN)'
	@$(MANAGE) seedadmin --if-empty
	@echo "Open http://$(ADDRESS)/ and log in as admin with the password admin (development only)."
	@$(MANAGE) runserver $(ADDRESS)

test: $(READY)
	@echo "The suite on SQLite"
	@DATABASE_URL= $(RUN) -m pytest $(PYTEST_ARGS)
	@echo "The suite on PostgreSQL"
	@case "$$DATABASE_URL" in \
	    postgres://*|postgresql://*) ;; \
	    *) export DATABASE_URL=embedded-postgres:// ;; \
	esac; $(RUN) -m pytest $(PYTEST_ARGS)

browser: $(READY)
	@DATABASE_URL= OPENWORKFLOW_BROWSER=required $(RUN) -m pytest $(PYTEST_ARGS) tests/browser

screenshots: $(READY)
	@DATABASE_URL= OPENWORKFLOW_BROWSER=required OPENWORKFLOW_SCREENSHOTS=docs/screenshots \
	    $(RUN) -m pytest -q tests/browser/test_screenshots.py
	@du -ch docs/screenshots/*.png

bench: $(READY)
	@$(RUN) -m benchmarks $(BENCH_ARGS)

lint: $(READY)
	@$(RUN) -m ruff check
	@$(RUN) -m ruff format --check
	@$(RUN) -m mypy
	@$(VENV)/bin/lint-imports
	@$(MANAGE) makemigrations --check --dry-run

docs: $(READY)
	@$(RUN) -m sphinx --fail-on-warning --keep-going --quiet docs docs/_build/html
	@echo "Open docs/_build/html/index.html"

wheel: $(READY)
	@rm -rf dist
	@$(RUN) -m build
	@ls dist

reliability: $(READY)
	@nice $(RUN) -m benchmarks.reliability --write

mutants: $(READY)
	@nice $(RUN) -m benchmarks.mutants --write

rounds: $(READY)
	@nice $(RUN) -m benchmarks.rounds $(ROUNDS_ARGS)

audit: $(READY)
	@$(RUN) -m pip freeze --exclude-editable > $(VENV)/installed.txt
	@$(RUN) -m pip_audit --strict --no-deps --disable-pip -r $(VENV)/installed.txt

clean:
	rm -rf $(VENV) .tox build dist docs/_build testproject/.demo testproject/.postgres
	rm -rf benchmarks/.envs benchmarks/.results
	rm -rf .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	rm -f testproject/db.sqlite3 testproject/db.sqlite3-shm testproject/db.sqlite3-wal
