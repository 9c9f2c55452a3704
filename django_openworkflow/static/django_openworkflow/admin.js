'use strict';
/* Keeps pages of workflow runs up to date: asks for the parts of a page again, as long as somebody
   looks and something is active, and replaces only what has changed. */
{
    const PAUSE = 2000; // milliseconds between two questions
    const LONGEST_PAUSE = 30000; // after errors

    const keyOf = (element) => element && element.closest('[id]') ? element.closest('[id]').id : '';

    function isBusy(container) {
        const selection = window.getSelection();
        const isSelecting = selection && !selection.isCollapsed && container.contains(selection.anchorNode);
        return isSelecting || container.querySelector('input[type=checkbox]:checked') !== null;
    }

    function replace(old, fresh) {
        old.querySelectorAll('details[id]').forEach((details) => {
            const twin = fresh.querySelector('#' + CSS.escape(details.id));
            if (twin) {
                twin.open = details.open;
            }
        });
        const scrolled = Array.from(old.querySelectorAll('pre')).map((pre) => pre.scrollTop);
        const focused = old.contains(document.activeElement) ? document.activeElement : null;
        const key = keyOf(focused);
        const isSummary = focused && focused.tagName === 'SUMMARY';
        old.replaceWith(fresh);
        fresh.querySelectorAll('pre').forEach((pre, index) => { pre.scrollTop = scrolled[index] || 0; });
        const again = key ? document.getElementById(key) : null;
        if (again) {
            (isSummary ? again.querySelector('summary') : again).focus({preventScroll: true});
        }
    }

    class Live {
        constructor(controls) {
            this.url = controls.dataset.owLive;
            this.container = document.getElementById(controls.dataset.owInto);
            this.news = controls.querySelector('[role=status]');
            this.button = controls.querySelector('.ow-pause');
            this.etag = null;
            this.seen = new Map();
            this.pause = PAUSE;
            this.isPaused = false;
            if (this.container && this.root().dataset.owActive) {
                this.container.querySelectorAll('.ow-part').forEach((part) => this.seen.set(part.id, part.outerHTML));
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
                if (response.status === 200 && !this.isPaused && !isBusy(this.container)) {
                    this.take(await response.text());
                    this.etag = response.headers.get('ETag');
                }
                this.pause = response.ok || response.status === 304 ? PAUSE : LONGEST_PAUSE;
            } catch {
                this.pause = Math.min(this.pause * 2, LONGEST_PAUSE);
            }
            this.schedule();
        }

        take(markup) {
            const fresh = new DOMParser().parseFromString(markup, 'text/html').querySelector('.ow-parts');
            if (!fresh) {
                return;
            }
            const root = this.root();
            const ids = (parts) => Array.from(parts.querySelectorAll('.ow-part'), (part) => part.id).join();
            const told = root.dataset.owNews;
            if (ids(root) === ids(fresh)) {
                fresh.querySelectorAll('.ow-part').forEach((part) => {
                    if (this.seen.get(part.id) !== part.outerHTML) {
                        this.seen.set(part.id, part.outerHTML);
                        replace(document.getElementById(part.id), document.importNode(part, true));
                    }
                });
                Object.assign(root.dataset, fresh.dataset);
            } else {
                replace(root, document.importNode(fresh, true));
            }
            if (fresh.dataset.owNews && fresh.dataset.owNews !== told) {
                this.news.textContent = fresh.dataset.owNews;
            }
            this.button.hidden = !fresh.dataset.owActive;
            const boxes = this.container.querySelectorAll('tr input.action-select');
            const go = document.querySelector('#changelist-form button[name=index]');
            if (boxes.length && go && window.Actions) { // the list's own script has to know the boxes
                window.Actions(boxes);
            }
        }
    }

    /* A link to an attempt opens it. */
    function openTarget() {
        const target = location.hash.length > 1 && document.getElementById(decodeURIComponent(location.hash.slice(1)));
        if (target && target.tagName === 'DETAILS') {
            target.open = true;
        }
    }

    document.addEventListener('DOMContentLoaded', () => {
        document.querySelectorAll('[data-ow-live]').forEach((controls) => new Live(controls));
        window.addEventListener('hashchange', openTarget);
        openTarget();
    });
}
