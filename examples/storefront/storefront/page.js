
"use strict";
const at = (id) => document.getElementById(id);
const goods = new Map([...document.querySelectorAll("[data-id]")].map((button) => [button.dataset.id, button.dataset]));
const euros = (cents) => "€ " + (cents / 100).toFixed(2);
let cart = new Map();
try {
  // What another release put there and this one does not sell is left out.
  cart = new Map(Object.entries(JSON.parse(localStorage.getItem("cart") || "{}")).filter(([id, n]) => goods.has(id) && n > 0));
} catch { /* a cart that cannot be read is an empty one */ }

function put(id, change) {
  const amount = Math.min(99, (cart.get(id) || 0) + change);
  if (amount > 0) cart.set(id, amount); else cart.delete(id);
  at("told").textContent = "";
  show();
}

function button(text, label, action) {
  const made = document.createElement("button");
  made.type = "button";
  made.textContent = text;
  made.setAttribute("aria-label", label);
  made.addEventListener("click", action);
  return made;
}

function show() {
  try { localStorage.setItem("cart", JSON.stringify(Object.fromEntries(cart))); } catch { /* private mode */ }
  let amount = 0, cents = 0;
  at("lines").replaceChildren(...[...cart].map(([id, n]) => {
    const product = goods.get(id), line = document.createElement("li"), name = document.createElement("span");
    amount += n;
    cents += n * Number(product.cents);
    name.textContent = product.name;
    line.append(name, button("−", "One less of " + product.name, () => put(id, -1)), String(n), button("+", "One more of " + product.name, () => put(id, 1)));
    return line;
  }));
  at("count").textContent = amount;
  at("empty").hidden = amount > 0;
  at("sum").hidden = at("order").hidden = amount === 0;
  at("sum").querySelector("b").textContent = euros(cents);
}

function open(wanted) {
  at("cart").hidden = !wanted;
  at("open").setAttribute("aria-expanded", String(wanted));
}

async function order() {
  at("order").disabled = true;
  try {
    const answer = await fetch("/orders" + location.search, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify({ items: Object.fromEntries(cart) }) });
    const told = await answer.json();
    if (!answer.ok) throw new Error(told.error);
    cart.clear();
    show();
    at("told").textContent = "Thrown your way: " + euros(told.cents) + ". (Taken by release " + told.release + ".)";
  } catch (error) {
    at("told").textContent = "That did not work: " + error.message + ". Your cart is kept.";
  }
  at("order").disabled = false;
}

for (const [id] of goods) document.querySelector(`[data-id="${id}"]`).addEventListener("click", () => put(id, 1));
at("open").addEventListener("click", () => open(at("cart").hidden));
at("order").addEventListener("click", order);
document.addEventListener("keydown", (event) => { if (event.key === "Escape") open(false); });
show();
