// Reads {"flags": the published line, "users": [context, ...]} from standard input; prints, for each flag, the variant that every user gets.
import { FlagdCore } from "@openfeature/flagd-core";
import { readFileSync } from "node:fs";

const given = JSON.parse(readFileSync(0, "utf8"));
const quiet = { error() {}, warn() {}, info() {}, debug() {} };
// It holds what it reads against flagd's schema, and says where that does not fit; what a logger throws it swallows.
const complaints = [];
const complain = (...words) => complaints.push(words.join(" "));
const core = new FlagdCore(undefined, { ...quiet, error: complain, warn: complain, debug: (...words) => /invalid/i.test(words.join(" ")) && complain(...words) });
core.setConfigurations(given.flags);
if (complaints.length) throw new Error(complaints.join("\n"));

function variant(key, user) {
  const { variant: found, reason } = core.resolveBooleanEvaluation(key, false, user, quiet);
  return found ?? reason;
}

const keys = Object.keys(JSON.parse(given.flags).flags);
process.stdout.write(JSON.stringify(Object.fromEntries(keys.map((key) => [key, given.users.map((user) => variant(key, user))]))));
