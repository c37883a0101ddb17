"use strict";
// At the foot of any application: <script src="http://ops.example:8088/footer.js" data-application="shop" data-environment="production" defer></script>
(() => {
  const script = document.currentScript;
  const { application, environment } = script.dataset;
  const isMeant = (one) => (!application || one.application === application) && (!environment || one.environment === environment);
  const ago = (minutes) => {
    for (const [size, name] of [[1440, "day"], [60, "hour"], [1, "minute"]]) {
      const count = Math.floor(minutes / size);
      if (count >= 1) return count + " " + name + (count === 1 ? "" : "s") + " ago";
    }
    return "just now";
  };
  fetch(new URL("footer.json", script.src)).then((answer) => answer.json()).then((all) => {
    const newestFirst = all.applications.filter(isMeant).sort((one, other) => Date.parse(other.at) - Date.parse(one.at));
    const told = application || environment ? newestFirst[0] : all;
    if (!told || !told.at) return;
    const line = document.createElement("span");
    line.className = "last-deployed";
    line.textContent = "last deployed " + ago((Date.now() - Date.parse(told.at)) / 60000) + " by " + told.by + ", " + told.count7d + " this week";
    script.after(line);
  }).catch(() => { /* a page without this line is whole */ });
})();
