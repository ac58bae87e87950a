# Two commands on a fresh machine: `make train` and `make test`. Both set up .venv first, once.
PYTHON ?= python3
BIN := .venv/bin
# The tests start hundreds of processes: none should compile its modules anew, whatever the shell's settings.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: train test test-all mutants audit benchmark study recipes results why51 wishes docs lock clean

train: .venv/ready          ## train LeNet-5 on MNIST
	$(BIN)/cnn-train

setup: .venv/ready          ## make .venv with everything in it
.PHONY: setup

# COVERAGE=yes measures which lines and branches the tests run, and fails where they are too few. It is not the default
# because Python 3.11 runs everything at half its speed meanwhile.
test: .venv/ready           ## style, types and all tests but the long ones
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy -n 2
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -n 2 --dist worksteal -m "not slow" $(if $(COVERAGE),--cov --cov-report=)
	$(if $(COVERAGE),$(BIN)/python tests/coverage_limits.py)

test-all: test              ## the long tests too, every Python on this machine, the newest and oldest libraries (hours)
	$(BIN)/pytest -m slow
	PATH="$$PATH:$(CURDIR)/.uv/bin" $(BIN)/tox run

mutants: .venv/ready        ## make mistakes one at a time, and say which ones no test notices (hours)
	OMP_NUM_THREADS=1 $(BIN)/mutmut run --max-children 1
	$(BIN)/mutmut results

audit: .venv/ready          ## known vulnerabilities of the locked dependencies; asks the package index
	$(BIN)/pip-audit --strict --require-hashes --disable-pip --requirement requirements.lock

benchmark: .venv/ready      ## time an epoch beside other ways to train
	$(BIN)/python benchmarks/epoch_time.py

# What is complete is not run again, and what was interrupted is resumed.
study: .venv/ready          ## test the papers' claims, or CLAIMS=NAME,NAME alone, and write docs/claims.md (hours)
	$(BIN)/python -m scripts.study claims $(CLAIMS)

recipes: .venv/ready        ## measure what makes a network better, or RECIPES=NAME,NAME alone, and write docs/recipes.md (hours)
	$(BIN)/python -m scripts.study recipes $(RECIPES)

results: .venv/ready        ## train the runs of docs/results.md, or RESULTS=NAME,NAME alone, and write it (many hours)
	$(BIN)/python -m scripts.results $(RESULTS)

why51: .venv/ready          ## find out why the article's AlexNet did not learn, and write docs/why_51.md (an hour)
	$(BIN)/python -m scripts.why_51

wishes: .venv/ready         ## measure what the article wished for, and write docs/wishes.md (minutes)
	$(BIN)/python -m scripts.wishes

# Warnings are errors: a link that leads nowhere, an anchor or a picture that does not exist.
docs: .venv/ready           ## build the site, in both languages, into site/
	rm -rf site
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -E -d .doctrees/en -c docs/site . site
	$(BIN)/sphinx-build --quiet --fail-on-warning --keep-going -E -d .doctrees/ko -c docs/site -t ko . site/ko
	rm -rf jupyter_execute site/jupyter_execute    # pictures of the notebook, which are in the site already
	@echo "The site is in site/index.html"

# uv installs the locked versions; where it is missing, pip puts it into .uv, beside everything else.
.venv/ready: requirements.lock pyproject.toml
	@command -v uv >/dev/null || test -x .uv/bin/uv || $(PYTHON) -m pip install --quiet --target .uv uv
	PATH="$$PATH:$(CURDIR)/.uv/bin" && \
	uv venv --quiet --allow-existing --python "$(PYTHON)" .venv && \
	uv pip install --quiet --python .venv --require-hashes -r requirements.lock && \
	uv pip install --quiet --python .venv --no-deps --editable .
	@touch $@

lock:                       ## choose new versions of everything
	uv pip compile --universal --python-version 3.11 --generate-hashes --upgrade --quiet \
		--all-extras pyproject.toml -o requirements.lock

clean:                      ## remove what setup made; data and outputs stay
	rm -rf .venv .uv .tox mutants site .doctrees jupyter_execute
