// A page that is opened as a file may start no worker: there the search's runs in a hidden frame. The name IFrameWorker is
// what the theme's worker looks for, and the file's what its plugin for offline sites takes for its own shim.
if (location.protocol === "file:") {
  window.IFrameWorker = class IFrameWorker extends EventTarget {
    #frame = document.createElement("iframe");
    #loaded;

    constructor(url) {
      super();
      this.#frame.hidden = true;
      document.body.append(this.#frame);
      const inside = this.#frame.contentWindow;
      inside.postMessage = (data) => this.#tell(this, data);
      inside.importScripts = async (...urls) => {
        for (const each of urls) await this.#run(each);
      };
      this.#loaded = this.#run(url);
    }

    postMessage(data) {
      this.#loaded.then(() => this.#tell(this.#frame.contentWindow, data));
    }

    terminate() {
      this.#frame.remove();
    }

    #run(url) {
      return new Promise((resolve, reject) => {
        const script = this.#frame.contentDocument.createElement("script");
        Object.assign(script, { src: new URL(url, location), onload: resolve, onerror: reject });
        this.#frame.contentDocument.body.append(script);
      });
    }

    #tell(target, data) {
      setTimeout(() => target.dispatchEvent(new MessageEvent("message", { data: structuredClone(data) })));
    }
  };
  window.Worker = window.IFrameWorker;
}
