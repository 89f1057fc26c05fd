// Elements of the page. Text becomes text nodes and nothing else: a key called <script> is shown as it is called.

const SVG = "http://www.w3.org/2000/svg";

/** An element; `properties` are attributes, `class`, and `on: {event: listener}`. null and false children are left out. */
export function make(tag, properties = {}, ...children) {
  const element = tag === "svg" || tag === "path" ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name === "on") {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (value === true) {
      element.setAttribute(name, "");
    } else if (value !== false && value !== null && value !== undefined) {
      element.setAttribute(name, String(value));
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== false && child !== undefined));
  return element;
}

/** A button that cannot be pressed twice while what it does is running. */
export function button(text, act, properties = {}) {
  const element = make("button", { type: "button", ...properties }, text);
  element.addEventListener("click", async () => {
    element.disabled = true;
    try {
      await act();
    } finally {
      element.disabled = false;
    }
  });
  return element;
}

let fields = 0;

/** A label and its input, select or textarea. `hint` is read out with it. */
export function field(label, input, hint = "") {
  const id = `field-${++fields}`;
  input.id = id;
  if (hint) input.setAttribute("aria-describedby", `${id}-hint`);
  return make("div", { class: "field" },
    make("label", { for: id }, label), input,
    hint && make("p", { class: "hint", id: `${id}-hint` }, hint));
}

/** A form that no browser sends anywhere: `act` gets it, and what that throws is shown in it. */
export function form(act, ...children) {
  const error = make("p", { class: "error", role: "alert" });
  const element = make("form", { method: "post", novalidate: true, autocomplete: "off" }, ...children, error);
  element.addEventListener("submit", async (event) => {
    event.preventDefault();
    error.textContent = "";
    const sender = element.querySelector("button[type=submit]");
    sender.disabled = true;
    try {
      await act(element);
    } catch (problem) {
      if (problem.name !== "AbortError") error.textContent = problem.message;
    } finally {
      sender.disabled = false;
    }
  });
  return element;
}

/** A part of a page with its heading. */
export function section(title, ...children) {
  const id = `field-${++fields}`;
  return make("section", { "aria-labelledby": id }, make("h2", { id }, title), ...children);
}

/** What is shown in a place until it is there, and what went wrong if it does not come. */
export async function fill(place, waiting, work) {
  place.replaceChildren(make("p", { class: "hint" }, waiting));
  place.setAttribute("aria-busy", "true");
  try {
    const found = await work();
    place.replaceChildren(...[found].flat());
  } catch (problem) {
    if (problem.name === "AbortError") return;
    place.replaceChildren(make("p", { class: "error", role: "alert" }, problem.message));
  } finally {
    place.removeAttribute("aria-busy");
  }
}

/** A text in a box with a button that copies it. */
export function copyable(text, words, properties = {}) {
  const copy = button(words.copy, async () => {
    await navigator.clipboard.writeText(text);
    copy.textContent = words.copied;
    setTimeout(() => { copy.textContent = words.copy; }, 2000);
  }, { class: "copy" });
  if (!navigator.clipboard) copy.hidden = true; // over plain HTTP on another host browsers have none
  return make("div", { class: "copyable", ...properties }, make("pre", { tabindex: "0" }, make("code", {}, text)), copy);
}
