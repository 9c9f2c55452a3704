'use strict';
/* Keeps pages of workflow runs up to date: asks for the parts of a page again, as long as somebody
   looks and something is active, and replaces only what has changed. */
{
    const PAUSE = 2000; // milliseconds between two questions
    const LONGEST_PAUSE = 30000; // after errors
    const AROUND = ['#changelist-search', '#changelist .paginator']; // of a list, where Django counts its rows

    function isBusy(container) {
        const selection = window.getSelection();
        const isSelecting = selection && !selection.isCollapsed && container.contains(selection.anchorNode);
        return isSelecting || container.querySelector('input[type=checkbox]:checked') !== null;
    }

    /* What tells a node from its neighbours: its id, or where it leads. The number of an attempt grows
       with every retry, while the name of its step stays. */
    function keyOf(node) {
        const isElement = node.nodeType === Node.ELEMENT_NODE;
        const link = isElement && (node.matches('a[href]') ? node : node.matches('tr') && node.querySelector('a[href]'));
        const href = link ? link.getAttribute('href') : '';
        const key = isElement && node.id || (href.startsWith('#') ? link.textContent : href);
        return node.nodeName + ' ' + key;
    }

    function dress(old, fresh) {
        const isMine = (name) => name === 'open' && old.nodeName === 'DETAILS'; // whoever looks opens and closes
        old.getAttributeNames().filter((name) => !fresh.hasAttribute(name) && !isMine(name))
            .forEach((name) => old.removeAttribute(name));
        fresh.getAttributeNames().filter((name) => old.getAttribute(name) !== fresh.getAttribute(name) && !isMine(name))
            .forEach((name) => old.setAttribute(name, fresh.getAttribute(name)));
    }

    /* Makes an element look like another one. Every node that can stay does: with it stay the focus,
       what is scrolled, open or ticked, and a click that has only begun. */
    function morph(old, fresh) {
        if (old.isEqualNode(fresh)) {
            return;
        }
        if (old.nodeType !== Node.ELEMENT_NODE) {
            old.nodeValue = fresh.nodeValue;
            return;
        }
        dress(old, fresh);
        const known = new Map();
        old.childNodes.forEach((child) => {
            const key = keyOf(child);
            known.set(key, known.get(key) || []);
            known.get(key).push(child);
        });
        const children = Array.from(fresh.childNodes, (child) => {
            const twin = (known.get(keyOf(child)) || []).shift();
            if (twin) {
                morph(twin, child);
            }
            return twin || document.importNode(child, true);
        });
        known.forEach((gone) => gone.forEach((child) => child.remove()));
        let place = old.firstChild;
        children.forEach((child) => {
            if (child === place) {
                place = place.nextSibling;
            } else {
                old.insertBefore(child, place);
            }
        });
    }

    function update(old, fresh) {
        const focused = old.contains(document.activeElement) ? document.activeElement : null;
        const looks = focused && focused.outerHTML;
        morph(old, fresh);
        if (focused && document.activeElement !== focused) { // it has moved: it, or its like, is focused again
            const again = old.contains(focused) ? focused
                : Array.from(old.querySelectorAll(focused.nodeName)).find((twin) => twin.outerHTML === looks);
            if (again) {
                again.focus({preventScroll: true});
            }
        }
    }

    /* The boxes of a list. Django's script knows the rows that a page began with, and holds on to them;
       this does the same for rows that come and go. */
    class Selection {
        constructor(form) {
            this.form = form;
            this.last = null;
            this.isAcross = false; // whether the rows of all pages are meant
            form.addEventListener('click', (event) => this.click(event));
            window.addEventListener('pageshow', () => this.show()); // coming back, boxes are still ticked
        }

        boxes() {
            return Array.from(this.form.querySelectorAll('tr input.action-select'));
        }

        click(event) {
            const target = event.target;
            const link = target.closest('.actions .question a, .actions .clear a');
            if (target.id === 'action-toggle') {
                this.boxes().forEach((box) => { box.checked = target.checked; });
            } else if (target.matches('tr input.action-select')) {
                const boxes = this.boxes();
                const ends = [boxes.indexOf(target), boxes.indexOf(this.last)].sort((one, other) => one - other);
                if (event.shiftKey && ends[0] >= 0) {
                    boxes.slice(ends[0], ends[1] + 1).forEach((box) => { box.checked = target.checked; });
                }
                this.last = target;
            } else if (link) {
                event.preventDefault();
                this.isAcross = link.closest('.question') !== null;
                this.boxes().forEach((box) => { box.checked = this.isAcross; });
            } else {
                return;
            }
            this.show();
        }

        show() {
            const boxes = this.boxes();
            const ticked = boxes.filter((box) => box.checked).length;
            const areAll = boxes.length > 0 && ticked === boxes.length;
            this.isAcross = this.isAcross && areAll;
            boxes.forEach((box) => box.closest('tr').classList.toggle('selected', box.checked));
            const each = (selector, change) => this.form.querySelectorAll(selector).forEach(change);
            each('#action-toggle', (toggle) => { toggle.checked = areAll; });
            each('.actions .select-across', (across) => { across.value = this.isAcross ? 1 : 0; });
            each('.actions .question', (part) => part.classList.toggle('hidden', !areAll || this.isAcross));
            each('.actions .clear, .actions .all', (part) => part.classList.toggle('hidden', !this.isAcross));
            each('.actions .action-counter', (counter) => {
                const words = ngettext('%(sel)s of %(cnt)s selected', '%(sel)s of %(cnt)s selected', ticked);
                const told = interpolate(words, {sel: ticked, cnt: counter.dataset.actionsIcnt}, true);
                if (counter.textContent !== told) { // what is said again may be read aloud again
                    counter.textContent = told;
                }
                counter.classList.toggle('hidden', this.isAcross);
            });
        }
    }

    let selection = null;

    class Live {
        constructor(controls) {
            this.url = controls.dataset.owLive;
            this.container = document.getElementById(controls.dataset.owInto);
            this.news = controls.querySelector('[role=status]');
            this.button = controls.querySelector('.ow-pause');
            this.etag = null;
            this.pause = PAUSE;
            this.isPaused = false;
            if (this.container && this.root().dataset.owActive) {
                this.button.hidden = false;
                this.button.addEventListener('click', () => this.toggle());
                document.addEventListener('visibilitychange', () => this.schedule());
                this.show();
                this.schedule();
            }
        }

        root() {
            return this.container.querySelector('.ow-parts');
        }

        show() {
            this.button.setAttribute('aria-pressed', String(this.isPaused));
            this.button.textContent = this.isPaused ? this.button.dataset.owPaused : this.button.dataset.owRunning;
        }

        toggle() {
            this.isPaused = !this.isPaused;
            this.show();
            this.schedule();
        }

        schedule() {
            clearTimeout(this.timer);
            if (!this.isPaused && !document.hidden && this.root().dataset.owActive) {
                this.timer = setTimeout(() => this.ask(), this.pause);
            }
        }

        async ask() {
            try {
                const headers = this.etag ? {'If-None-Match': this.etag} : {};
                const response = await fetch(this.url, {headers, cache: 'no-store', redirect: 'error'});
                const markup = await response.text();
                if (response.status === 200 && !this.isPaused && !isBusy(this.container)) {
                    this.take(markup);
                    this.etag = response.headers.get('ETag');
                }
                this.pause = response.ok || response.status === 304 ? PAUSE : LONGEST_PAUSE;
            } catch {
                this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
            }
            this.schedule();
        }

        take(markup) {
            const answer = new DOMParser().parseFromString(markup, 'text/html');
            const fresh = answer.querySelector('.ow-parts');
            if (!fresh) {
                return;
            }
            const told = this.root().dataset.owNews;
            update(this.root(), fresh);
            AROUND.forEach((selector) => {
                const [old, now] = [document, answer].map((page) => page.querySelector(selector));
                if (old && now) {
                    update(old, now);
                }
            });
            if (selection) {
                selection.show();
            }
            if (fresh.dataset.owNews && fresh.dataset.owNews !== told) {
                this.news.textContent = fresh.dataset.owNews;
            }
            this.button.hidden = !fresh.dataset.owActive;
        }
    }

    /* A link to an attempt opens it. */
    function openTarget() {
        const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
        if (target && target.tagName === 'DETAILS') {
            target.open = true;
        }
    }

    window.addEventListener('DOMContentLoaded', () => { // captured: before Django's script begins
        if (document.getElementById('ow-list')) {
            window.Actions = () => {};
            selection = new Selection(document.getElementById('changelist-form'));
        }
    }, true);

    document.addEventListener('DOMContentLoaded', () => {
        document.querySelectorAll('[data-ow-live]').forEach((controls) => new Live(controls));
        window.addEventListener('hashchange', openTarget);
        openTarget();
    });
}
