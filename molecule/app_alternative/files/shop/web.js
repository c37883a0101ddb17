// Answers what its process was given. Copyright: Tossable Fleet maintainers. GPL-3.0-or-later.
"use strict";
const http = require("http");
const os = require("os");

http.createServer((request, response) => {
  response.setHeader("Content-Type", "application/json");
  response.statusCode = request.url === "/report" || request.url === "/healthz?deep=1" ? 200 : 404;
  response.end(JSON.stringify({ pid: process.pid, environment: process.env, interfaces: Object.keys(os.networkInterfaces()) }));
}).listen(Number(process.env.PORT));

process.on("SIGTERM", () => process.exit(0));
