# The words everyone types. What they do stands in tools/.
SHELL := /bin/bash
export PATH := $(CURDIR)/.venv/bin:$(PATH)
.DEFAULT_GOAL := help
.PHONY: help setup demo demo-page test lint unit sanity browser molecule fleet torture-release bench bench-flags bench-callbacks gate-figures lab lab-down

help: ## say what can be typed
	@awk -F ':.*## ' '/^[a-z -]+:.*## / {printf "make %-18s %s\n", $$1, $$2}' Makefile

setup: ## install what the rest needs, and say so
	@tools/setup bookworm

demo: setup ## make a fleet, release to it twice under load, show the figures
	@tools/demo.py

demo-page: demo ## the same, then look at the status page that it leaves, in a real browser
	@AFTER_DEMO=1 pytest -q tests/browser/test_after_a_demo.py

test: ## everything that must hold: lint, unit, sanity, browser, molecule, fleet
	@tools/setup bookworm trixie
	@tools/test

lint unit sanity browser: ## one part of the tests alone
	@tools/setup
	@tools/test $@

molecule: ## the roles on throwaway hosts of Debian 12 and 13; one of them: make molecule ROLE=app
	@tools/setup bookworm trixie $(if $(filter bare,$(ROLE)),bookworm-bare)
	@LONG=1 tools/test molecule $(ROLE)

fleet: setup ## what only several hosts can show, twenty deployments in a row among it
	@LONG=1 DEPLOYMENTS=20 tools/test fleet

torture-release: setup ## break a release in every way that the code lists, write the figures to docs/reliability.md (hours)
	@TORTURE=all tools/test fleet tests/fleet -m 'torture or complete'
	@tools/reliability.py

bench: setup ## deploy.yml against a bare ssh loop
	@tools/bench.py

bench-flags: setup ## seconds from a flag's switch to the last application on 20 hosts; fewer: make bench-flags APP_SERVERS=4
	@tools/flag_bench.py $(if $(APP_SERVERS),--hosts $(APP_SERVERS))

bench-callbacks: setup ## what the callbacks cost a deployment, in processor time
	@tools/callback_bench.py

gate-figures: ## simulate thousands of rollouts, write what the gate catches how soon to docs/gate.md
	@tools/setup
	@PYTHONPATH=collections tools/gate_figures.py

lab: setup ## make the lab, or mend it
	@ansible-playbook playbooks/lab.yml

lab-down: ## remove the lab
	@tools/setup
	@ansible-playbook playbooks/lab.yml -e lab_state=absent
