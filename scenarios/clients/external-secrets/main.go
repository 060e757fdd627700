// External Secrets' own controllers, in one process with a Kubernetes API in memory: it holds the
// manifests of the file that is named, and the Secrets that the controllers make of them. Nothing of
// the controllers is changed; what they would find in a cluster is in this file.
//
//	./operator manifests.yaml
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"os"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	toolscache "k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/server"

	esv1 "github.com/external-secrets/external-secrets/apis/externalsecrets/v1"
	genv1alpha1 "github.com/external-secrets/external-secrets/apis/generators/v1alpha1"
	ctrlcommon "github.com/external-secrets/external-secrets/pkg/controllers/common"
	"github.com/external-secrets/external-secrets/pkg/controllers/externalsecret"
	"github.com/external-secrets/external-secrets/pkg/controllers/externalsecret/esmetrics"
	ctrlmetrics "github.com/external-secrets/external-secrets/pkg/controllers/metrics"
	"github.com/external-secrets/external-secrets/pkg/controllers/secretstore"
	"github.com/external-secrets/external-secrets/pkg/controllers/secretstore/ssmetrics"
	"github.com/external-secrets/external-secrets/pkg/feature"
)

// fromFiles names, in an annotation of a Secret, the file of each of its keys: what a pipeline keeps
// up to date in a cluster is here read from the file whenever somebody looks.
const fromFiles = "vault-harness.example/files"

var scheme = runtime.NewScheme()

func must(err error) {
	if err != nil {
		ctrl.Log.Error(err, "cannot start")
		os.Exit(1)
	}
}

// manifests reads what a user would apply, one document after the other.
func manifests(file string) []client.Object {
	content, err := os.ReadFile(file)
	must(err)
	var found []client.Object
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	for _, document := range bytes.Split(content, []byte("\n---\n")) {
		object, _, err := decoder.Decode(document, nil, nil)
		must(err)
		found = append(found, identified(object.(client.Object)))
	}
	return found
}

// get is a look at the API. A Secret that is kept in files is what is in them at that moment.
func get(ctx context.Context, api client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
	if err := api.Get(ctx, key, object, options...); err != nil {
		return err
	}
	secret, ok := object.(*corev1.Secret)
	if !ok || secret.Annotations[fromFiles] == "" {
		return nil
	}
	var files map[string]string
	if err := json.Unmarshal([]byte(secret.Annotations[fromFiles]), &files); err != nil {
		return err
	}
	secret.Data = map[string][]byte{}
	for name, file := range files {
		content, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		secret.Data[name] = content
	}
	return nil
}

// identified gives the identity that an API server gives, by which the controllers know that something is there.
func identified(object client.Object) client.Object {
	object.SetUID(uuid.NewUUID())
	return object
}

func create(ctx context.Context, api client.WithWatch, object client.Object, options ...client.CreateOption) error {
	if err := api.Create(ctx, identified(object), options...); err != nil {
		return err
	}
	return mount(object)
}

func update(ctx context.Context, api client.WithWatch, object client.Object, options ...client.UpdateOption) error {
	if err := api.Update(ctx, object, options...); err != nil {
		return err
	}
	return mount(object)
}

// patchStatus leaves out what changes nothing, of which an API server makes no event either.
func patchStatus(ctx context.Context, api client.Client, part string, object client.Object, patch client.Patch, options ...client.SubResourcePatchOption) error {
	if change, err := patch.Data(object); err != nil || string(change) == "{}" {
		return err
	}
	return api.SubResource(part).Patch(ctx, object, patch, options...)
}

// mount does what a kubelet does for a pod with the Secret as a volume, at once: by renaming.
func mount(object client.Object) error {
	secret, ok := object.(*corev1.Secret)
	if !ok {
		return nil
	}
	values := map[string]string{}
	for key, value := range secret.Data {
		values[key] = string(value)
	}
	content, err := json.Marshal(values)
	if err != nil {
		return err
	}
	file := secret.Name + ".json"
	if err := os.WriteFile(file+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(file+".new", file)
}

// watched is the cache of a manager: looks go to the API itself, and events come from its watches.
type watched struct {
	client.WithWatch
	mutex     sync.Mutex
	informers []toolscache.SharedIndexInformer
}

func (w *watched) GetInformer(ctx context.Context, object client.Object, _ ...cache.InformerGetOption) (cache.Informer, error) {
	if _, ok := object.(*metav1.PartialObjectMetadata); ok { // of Secrets, the only ones of which it is asked
		object = &corev1.Secret{}
	}
	kind, err := w.GroupVersionKindFor(object)
	if err != nil {
		return nil, err
	}
	all := func() (client.ObjectList, error) {
		list, err := scheme.New(kind.GroupVersion().WithKind(kind.Kind + "List"))
		if err != nil {
			return nil, err
		}
		return list.(client.ObjectList), nil
	}
	informer := toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListFunc: func(metav1.ListOptions) (runtime.Object, error) {
			list, err := all()
			if err != nil {
				return nil, err
			}
			return list, w.List(ctx, list)
		},
		WatchFunc: func(metav1.ListOptions) (watch.Interface, error) {
			list, err := all()
			if err != nil {
				return nil, err
			}
			return w.Watch(ctx, list)
		},
	}, object, 0, toolscache.Indexers{})
	go informer.RunWithContext(context.WithoutCancel(ctx))
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.informers = append(w.informers, informer)
	return informer, nil
}

func (w *watched) GetInformerForKind(context.Context, schema.GroupVersionKind, ...cache.InformerGetOption) (cache.Informer, error) {
	panic("nobody asks by kind")
}

func (w *watched) RemoveInformer(context.Context, client.Object) error { return nil }

func (w *watched) IndexField(context.Context, client.Object, string, client.IndexerFunc) error {
	return nil // the API in memory has it already
}

func (w *watched) Start(ctx context.Context) error {
	<-ctx.Done()
	return nil
}

func (w *watched) WaitForCacheSync(ctx context.Context) bool {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for _, informer := range w.informers {
		if !toolscache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			return false
		}
	}
	return true
}

// silent keeps events to itself: there is no server for them.
type silent struct{ record.EventBroadcaster }

func (silent) StartRecordingToSink(record.EventSink) watch.Interface { return watch.NewFake() }

func main() {
	ctrl.SetLogger(zap.New())
	must(clientgoscheme.AddToScheme(scheme))
	must(esv1.AddToScheme(scheme))
	must(genv1alpha1.AddToScheme(scheme))
	ctrlmetrics.SetUpLabelNames(false)
	esmetrics.SetUpMetrics()
	ssmetrics.SetUpMetrics()
	for _, one := range feature.Features() {
		if one.Initialize != nil {
			one.Initialize()
		}
	}
	// Vault's provider makes a client of the API for service accounts' tokens, and never uses it here.
	must(os.WriteFile("kubeconfig", []byte("{apiVersion: v1, kind: Config, clusters: [{name: c, cluster: {server: 'http://127.0.0.1:9'}}], contexts: [{name: c, context: {cluster: c}}], current-context: c}"), 0o600))
	must(os.Setenv("KUBECONFIG", "kubeconfig"))

	api := fake.NewClientBuilder().WithScheme(scheme).WithObjects(manifests(os.Args[1])...).
		WithStatusSubresource(&esv1.ExternalSecret{}, &esv1.SecretStore{}).
		WithIndex(&esv1.ExternalSecret{}, ".metadata.targetSecretName", func(object client.Object) []string {
			return []string{object.(*esv1.ExternalSecret).Spec.Target.Name}
		}).
		WithInterceptorFuncs(interceptor.Funcs{Get: get, Create: create, Update: update, SubResourcePatch: patchStatus}).
		Build()
	manager, err := ctrl.NewManager(&rest.Config{}, ctrl.Options{
		Scheme:           scheme,
		Metrics:          server.Options{BindAddress: "0"},
		EventBroadcaster: silent{record.NewBroadcaster()},
		MapperProvider: func(*rest.Config, *http.Client) (meta.RESTMapper, error) {
			return api.RESTMapper(), nil
		},
		NewCache:  func(*rest.Config, cache.Options) (cache.Cache, error) { return &watched{WithWatch: api}, nil },
		NewClient: func(*rest.Config, client.Options) (client.Client, error) { return api, nil },
	})
	must(err)

	// Both controllers as cmd/controller/root.go has them, with the defaults of its flags.
	must((&secretstore.StoreReconciler{
		Client:          manager.GetClient(),
		Log:             ctrl.Log.WithName("controllers").WithName("SecretStore"),
		Scheme:          manager.GetScheme(),
		ControllerClass: "default",
		RequeueInterval: 5 * time.Minute,
	}).SetupWithManager(manager, controller.Options{MaxConcurrentReconciles: 1, RateLimiter: ctrlcommon.BuildRateLimiter()}))
	must((&externalsecret.Reconciler{
		Client:                    manager.GetClient(),
		SecretClient:              manager.GetClient(),
		Log:                       ctrl.Log.WithName("controllers").WithName("ExternalSecret"),
		Scheme:                    manager.GetScheme(),
		RestConfig:                manager.GetConfig(),
		ControllerClass:           "default",
		RequeueInterval:           time.Hour,
		ClusterSecretStoreEnabled: true,
		EnableFloodGate:           true,
		EnableGeneratorState:      true,
	}).SetupWithManager(manager, controller.Options{MaxConcurrentReconciles: 1, RateLimiter: ctrlcommon.BuildRateLimiter()}))
	must(manager.Start(ctrl.SetupSignalHandler()))
}
