/** Which configurations are drawn: a checkbox for each, with its colour and dashes. */

import { choose, chooseNone, chooseTheBest, configurations, data, state } from "./data.js";
import { button, fill, make } from "./elements.js";
import { key } from "./marks.js";

/** Put the checkboxes into an element. */
export function showLegend(element) {
    const items = configurations.map((configuration) => {
        const box = make("input", { type: "checkbox", onchange: () => choose(configuration.number, box.checked) });
        const swatch = make("span.swatch");
        const label = make(
            "label.item",
            { title: configuration.label },
            box,
            swatch,
            make("span.name", {}, configuration.label),
        );
        return { configuration, box, swatch, label };
    });
    const many = configurations.length > data.most_drawn;
    fill(
        element,
        make(
            "fieldset",
            {},
            make("legend", {}, "Drawn"),
            make(
                "div.controls",
                {},
                button(many ? `the best ${data.most_drawn}` : "all", chooseTheBest),
                button("none", chooseNone),
            ),
            make(
                "div.items",
                {},
                items.map(({ label }) => label),
            ),
        ),
    );
    const draw = () => {
        const matching = new Set(state.get("matching"));
        const visible = new Set(state.get("visible"));
        for (const { configuration, box, swatch, label } of items) {
            label.hidden = !matching.has(configuration);
            box.checked = visible.has(configuration);
            label.classList.toggle("off", !box.checked);
            fill(swatch, box.checked && key(configuration));
        }
    };
    state.watch(["visible", "matching"], draw);
    draw();
}
