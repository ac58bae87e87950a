/** What the page shows, in one place; views watch the parts that they draw. */

export class State {
    constructor(values) {
        this.values = { ...values };
        this.watchers = [];
    }

    /**
     * Call a function when one of some values has changed.
     * @param {string[]} names
     * @param {() => void} whenChanged
     */
    watch(names, whenChanged) {
        this.watchers.push({ names: new Set(names), whenChanged });
    }

    /** Change some values; those that are the same as before do not count. */
    set(changes) {
        const changed = Object.keys(changes).filter((name) => this.values[name] !== changes[name]);
        Object.assign(this.values, changes);
        for (const { names, whenChanged } of this.watchers) {
            if (changed.some((name) => names.has(name))) whenChanged();
        }
    }

    get(name) {
        return this.values[name];
    }
}
