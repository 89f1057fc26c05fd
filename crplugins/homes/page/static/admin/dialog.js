// Dialogs: the browser's own, which keep the focus inside and give it back.

import { make } from "../elements.js";
import { t } from "../texts.js";

/**
 * Shows a dialog until it is closed. `content(close)` makes what is in it. `stays`: neither Escape nor a close button
 * ends it, because what it shows is shown once.
 */
export function dialog(title, content, { stays = false } = {}) {
  return new Promise((resolve) => {
    const element = make("dialog", { "aria-labelledby": "dialog-title" });
    const close = () => element.close();
    const inside = [content(close)].flat();
    const asks = inside.some((each) => each.tagName === "FORM"); // then its first field has the focus, else the heading
    element.append(
      make("h2", { id: "dialog-title", tabindex: "-1", autofocus: !asks }, title), ...inside,
      stays ? "" : make("button", { type: "button", class: "plain close", on: { click: close } }, t("close")));
    if (stays) element.addEventListener("cancel", (event) => event.preventDefault());
    element.addEventListener("close", () => { element.remove(); resolve(); });
    document.body.append(element);
    element.showModal();
  });
}
