(* Real n x n matrices (n = k + 1 >= 1) as an instance of `algebra`, with the Frobenius norm, the spectral norm and the
   smallest singular value; what the exported sections assume of them is proved here. *)
From dlinear Require Export matrices.

Fixpoint big (n : nat) (f : nat -> R) : R := match n with O => 0 | S n => big n f + f n end.
Lemma big_ext n f g : (forall i, (i < n)%nat -> f i = g i) -> big n f = big n g.
Proof. induction n; simpl; auto; intros H; rewrite IHn by auto; f_equal; auto. Qed.
Lemma big_plus n f g : big n (fun i => f i + g i) = big n f + big n g.
Proof. induction n; simpl; [ring|]; rewrite IHn; ring. Qed.
Lemma big_scal n c f : big n (fun i => c * f i) = c * big n f.
Proof. induction n; simpl; [ring|]; rewrite IHn; ring. Qed.
Lemma big_scal_r n c f : big n (fun i => f i * c) = big n f * c.
Proof. induction n; simpl; [ring|]; rewrite IHn; ring. Qed.
Lemma big_zero n : big n (fun _ => 0) = 0.
Proof. induction n; simpl; [easy|]; rewrite IHn; ring. Qed.
Lemma big_swap n m f : big n (fun i => big m (f i)) = big m (fun j => big n (fun i => f i j)).
Proof.
  induction n; simpl; [now rewrite big_zero|]. rewrite IHn; symmetry; apply big_plus.
Qed.
Lemma big_le n f g : (forall i, (i < n)%nat -> f i <= g i) -> big n f <= big n g.
Proof. induction n; simpl; intros H; [lra|]. apply Rplus_le_compat; auto. Qed.
Lemma big_nonneg n f : (forall i, (i < n)%nat -> 0 <= f i) -> 0 <= big n f.
Proof. intros H; rewrite <- (big_zero n); now apply big_le. Qed.
Lemma big_one n : big n (fun _ => 1) = INR n.
Proof. induction n; [easy|]; rewrite S_INR; simpl; lra. Qed.
Lemma big_delta n i f : (i < n)%nat -> big n (fun j => if Nat.eqb i j then f j else 0) = f i.
Proof.
  induction n; intros H; [lia|]; simpl.
  destruct (Nat.eqb_spec i n) as [->|N].
  - rewrite (big_ext n _ (fun _ => 0)); [rewrite big_zero; ring|].
    intros j Hj; destruct (Nat.eqb_spec n j); [lia|easy].
  - rewrite IHn by lia; ring.
Qed.
Lemma big_term n f i : (forall j, (j < n)%nat -> 0 <= f j) -> (i < n)%nat -> f i <= big n f.
Proof.
  intros H Hi; rewrite <- (big_delta n i f Hi); apply big_le; intros j Hj.
  destruct (Nat.eqb i j); [lra|auto].
Qed.
Lemma big_null n f : (forall j, (j < n)%nat -> 0 <= f j) -> big n f <= 0 ->
  forall i, (i < n)%nat -> f i = 0.
Proof.
  intros H B i Hi; pose proof (big_term n f i H Hi); pose proof (H i Hi); lra.
Qed.

Section Size.
Variable k : nat.
Notation n := (S k).
Definition mat : Type := @matrix R n n.
Definition ent (x : mat) (i j : nat) : R := coeff_mat 0 x i j.
Definition mk (f : nat -> nat -> R) : mat := mk_matrix n n f.
Lemma ent_mk f i j : (i < n)%nat -> (j < n)%nat -> ent (mk f) i j = f i j.
Proof. apply coeff_mat_bij. Qed.
Lemma mat_eq x y : (forall i j, (i < n)%nat -> (j < n)%nat -> ent x i j = ent y i j) -> x = y.
Proof. apply coeff_mat_ext_aux. Qed.

Definition one : mat := mk (fun i j => if Nat.eqb i j then 1 else 0).
Definition plus (x y : mat) := mk (fun i j => ent x i j + ent y i j).
Definition prod (x y : mat) := mk (fun i j => big n (fun l => ent x i l * ent y l j)).
Definition scal (a : R) (x : mat) := mk (fun i j => a * ent x i j).
Definition flipm (x : mat) := mk (fun i j => ent x j i).
Definition trace (x : mat) := big n (fun i => ent x i i).

Ltac entries := apply mat_eq; intros i j Hi Hj; unfold plus, scal, flipm, one; rewrite ?ent_mk by auto.
Lemma prod_ent x y i j : (i < n)%nat -> (j < n)%nat -> ent (prod x y) i j = big n (fun l => ent x i l * ent y l j).
Proof. intros; unfold prod; now rewrite ent_mk. Qed.
Lemma prod_assoc x y z : prod x (prod y z) = prod (prod x y) z.
Proof.
  apply mat_eq; intros i j Hi Hj; rewrite !prod_ent by auto.
  transitivity (big n (fun l => big n (fun m => ent x i l * ent y l m * ent z m j))).
  - apply big_ext; intros l Hl; rewrite prod_ent, <- big_scal by auto; apply big_ext; intros; ring.
  - rewrite big_swap; apply big_ext; intros m Hm; rewrite prod_ent, <- big_scal_r by auto.
    apply big_ext; intros; ring.
Qed.
Lemma prod_one_l x : prod one x = x.
Proof.
  apply mat_eq; intros i j Hi Hj; rewrite prod_ent by auto.
  rewrite <- (big_delta n i (fun l => ent x l j)) by auto.
  apply big_ext; intros l Hl; unfold one; rewrite ent_mk by auto; destruct (Nat.eqb i l); ring.
Qed.
Lemma prod_one_r x : prod x one = x.
Proof.
  apply mat_eq; intros i j Hi Hj; rewrite prod_ent by auto.
  rewrite <- (big_delta n j (fun l => ent x i l)) by auto.
  apply big_ext; intros l Hl; unfold one; rewrite ent_mk by auto.
  rewrite Nat.eqb_sym; destruct (Nat.eqb j l); ring.
Qed.
Lemma prod_plus_l x y z : prod (plus x y) z = plus (prod x z) (prod y z).
Proof.
  entries; rewrite !prod_ent by auto; rewrite <- big_plus; apply big_ext; intros l Hl.
  unfold plus; rewrite ent_mk by auto; ring.
Qed.
Lemma prod_plus_r x y z : prod x (plus y z) = plus (prod x y) (prod x z).
Proof.
  entries; rewrite !prod_ent by auto; rewrite <- big_plus; apply big_ext; intros l Hl.
  unfold plus; rewrite ent_mk by auto; ring.
Qed.
Lemma prod_scal_l a x y : prod (scal a x) y = scal a (prod x y).
Proof.
  entries; rewrite !prod_ent by auto; rewrite <- big_scal; apply big_ext; intros l Hl.
  unfold scal; rewrite ent_mk by auto; ring.
Qed.
Lemma prod_scal_r a x y : prod x (scal a y) = scal a (prod x y).
Proof.
  entries; rewrite !prod_ent by auto; rewrite <- big_scal; apply big_ext; intros l Hl.
  unfold scal; rewrite ent_mk by auto; ring.
Qed.
Lemma flip_prod x y : flipm (prod x y) = prod (flipm y) (flipm x).
Proof.
  entries; rewrite !prod_ent by auto; apply big_ext; intros l Hl; unfold flipm; rewrite !ent_mk by auto; ring.
Qed.
Lemma width_one : 1 <= IZR (Z.of_nat n).
Proof. apply IZR_le; lia. Qed.

Definition reals : algebra.
Proof.
  refine {| carrier := mat; width := Z.of_nat n; mone := one; madd := plus; mmul := prod; scale := scal;
            tsp := flipm; tr := trace; width_sort := width_one;
            mmul_assoc := prod_assoc; mmul_one_l := prod_one_l; mmul_one_r := prod_one_r;
            mmul_madd_l := prod_plus_l; mmul_madd_r := prod_plus_r;
            scale_mmul_l := prod_scal_l; scale_mmul_r := prod_scal_r; tsp_mmul := flip_prod |}.
  all: try (intros; entries; try rewrite (Nat.eqb_sym j i); ring).
  - intros x y; unfold trace; rewrite <- big_plus; apply big_ext; intros; unfold plus; now rewrite ent_mk.
  - intros a x; unfold trace; rewrite <- big_scal; apply big_ext; intros; unfold scal; now rewrite ent_mk.
  - intros x y; unfold trace.
    rewrite (big_ext n _ (fun i => big n (fun l => ent x i l * ent y l i))) by (intros; now rewrite prod_ent).
    rewrite big_swap; apply big_ext; intros i Hi; rewrite prod_ent by auto; apply big_ext; intros; ring.
  - intros x; unfold trace; apply big_ext; intros; unfold flipm; now rewrite ent_mk.
  - unfold trace; rewrite (big_ext n _ (fun _ => 1)).
    + rewrite big_one, INR_IZR_INZ; easy.
    + intros i Hi; unfold one; rewrite ent_mk, Nat.eqb_refl; auto.
Defined.

(* -- vectors *)
Definition dot (u v : nat -> R) : R := big n (fun i => u i * v i).
Definition len (v : nat -> R) : R := sqrt (dot v v).
Definition app (x : mat) (v : nat -> R) : nat -> R := fun i => big n (fun j => ent x i j * v j).
Definition col (x : mat) (j : nat) : nat -> R := fun i => ent x i j.
Definition unit (i : nat) : nat -> R := fun j => if Nat.eqb i j then 1 else 0.

Lemma dot_ext u v w z : (forall i, (i < n)%nat -> u i = w i) -> (forall i, (i < n)%nat -> v i = z i) -> dot u v = dot w z.
Proof. intros H G; apply big_ext; intros i Hi; now rewrite H, G. Qed.
Lemma len_ext u v : (forall i, (i < n)%nat -> u i = v i) -> len u = len v.
Proof. intros H; unfold len; f_equal; now apply dot_ext. Qed.
Lemma dot_nonneg v : 0 <= dot v v.
Proof. apply big_nonneg; intros; nra. Qed.
Lemma len_nonneg v : 0 <= len v. Proof. apply sqrt_pos. Qed.
Lemma len_square v : len v * len v = dot v v.
Proof. apply sqrt_sqrt, dot_nonneg. Qed.
Lemma dot_comb (a b : R) u v : dot (fun i => a * u i + b * v i) (fun i => a * u i + b * v i)
  = a * a * dot u u + 2 * a * b * dot u v + b * b * dot v v.
Proof.
  unfold dot; rewrite <- !big_scal, <- !big_plus; apply big_ext; intros; ring.
Qed.
Lemma dot_null u v : dot u u = 0 -> dot u v = 0.
Proof.
  intros H; unfold dot; rewrite (big_ext n _ (fun _ => 0)); [apply big_zero|].
  intros i Hi; assert (E : u i * u i = 0); [|assert (u i = 0) by nra; nra].
  apply (big_null n (fun i => u i * u i)); auto; [intros; nra|unfold dot in H; lra].
Qed.
Lemma dot_cs u v : dot u v * dot u v <= dot u u * dot v v.
Proof.
  pose proof (dot_nonneg u) as U; destruct U as [U|U].
  - pose proof (dot_nonneg (fun i => - dot u v * u i + dot u u * v i)) as H; rewrite dot_comb in H.
    assert (0 <= dot u u * (dot u u * dot v v - dot u v * dot u v)) by nra.
    assert (0 <= dot u u * dot v v - dot u v * dot u v); [|lra].
    apply Rmult_le_reg_l with (dot u u); lra.
  - rewrite (dot_null u v) by auto; rewrite <- U; lra.
Qed.
Lemma square_le_of a b : 0 <= b -> a * a <= b * b -> a <= b.
Proof. intros B H; destruct (Rle_lt_dec a b); [easy|nra]. Qed.
Lemma dot_len u v : dot u v <= len u * len v.
Proof.
  pose proof (len_nonneg u); pose proof (len_nonneg v).
  apply square_le_of; [nra|]. pose proof (dot_cs u v); pose proof (len_square u); pose proof (len_square v).
  replace (len u * len v * (len u * len v)) with (len u * len u * (len v * len v)) by ring.
  now rewrite H2, H3.
Qed.
Lemma len_plus u v : len (fun i => u i + v i) <= len u + len v.
Proof.
  pose proof (len_nonneg u); pose proof (len_nonneg v).
  apply square_le_of; [lra|]; rewrite len_square.
  rewrite (dot_ext _ _ (fun i => 1 * u i + 1 * v i) (fun i => 1 * u i + 1 * v i)) by (intros; ring).
  rewrite dot_comb; pose proof (dot_len u v); pose proof (len_square u); pose proof (len_square v); nra.
Qed.
Lemma len_scal a v : len (fun i => a * v i) = Rabs a * len v.
Proof.
  unfold len. rewrite (dot_ext _ _ (fun i => a * v i + 0 * v i) (fun i => a * v i + 0 * v i)) by (intros; ring).
  rewrite dot_comb.
  replace (a * a * dot v v + 2 * a * 0 * dot v v + 0 * 0 * dot v v) with (a * a * dot v v) by ring.
  rewrite sqrt_mult by (try nra; apply dot_nonneg); f_equal; apply sqrt_Rsqr_abs.
Qed.
Lemma unit_dot i v : (i < n)%nat -> dot (unit i) v = v i.
Proof.
  intros H; unfold dot, unit; rewrite <- (big_delta n i v) by auto; apply big_ext; intros j Hj.
  destruct (Nat.eqb i j); ring.
Qed.
Lemma unit_len i : (i < n)%nat -> len (unit i) = 1.
Proof. intros H; unfold len; rewrite unit_dot by auto; unfold unit; now rewrite Nat.eqb_refl, sqrt_1. Qed.
Lemma app_unit x i j : (j < n)%nat -> app x (unit j) i = ent x i j.
Proof.
  intros H; unfold app, unit; rewrite <- (big_delta n j (fun l => ent x i l)) by auto; apply big_ext; intros l Hl.
  destruct (Nat.eqb j l); ring.
Qed.
Lemma app_prod x y v i : (i < n)%nat -> app (prod x y) v i = app x (app y v) i.
Proof.
  intros H; unfold app.
  rewrite (big_ext n _ (fun j => big n (fun l => ent x i l * ent y l j * v j))).
  - rewrite big_swap; apply big_ext; intros l Hl; rewrite <- big_scal; apply big_ext; intros; ring.
  - intros j Hj; rewrite prod_ent, <- big_scal_r by auto; easy.
Qed.
Lemma app_plus x y v i : (i < n)%nat -> app (plus x y) v i = app x v i + app y v i.
Proof.
  intros H; unfold app; rewrite <- big_plus; apply big_ext; intros j Hj; unfold plus; rewrite ent_mk by auto; ring.
Qed.
Lemma app_scal a x v i : (i < n)%nat -> app (scal a x) v i = a * app x v i.
Proof.
  intros H; unfold app; rewrite <- big_scal; apply big_ext; intros j Hj; unfold scal; rewrite ent_mk by auto; ring.
Qed.
Lemma app_vec x a v i : app x (fun j => a * v j) i = a * app x v i.
Proof. unfold app; rewrite <- big_scal; apply big_ext; intros; ring. Qed.
Lemma app_one v i : (i < n)%nat -> app one v i = v i.
Proof.
  intros H; unfold app; rewrite <- (big_delta n i v) by auto; apply big_ext; intros j Hj.
  unfold one; rewrite ent_mk by auto; destruct (Nat.eqb i j); ring.
Qed.
Lemma adjoint x u v : dot (app (flipm x) u) v = dot u (app x v).
Proof.
  unfold dot, app.
  rewrite (big_ext n _ (fun i => big n (fun j => ent x j i * u j * v i))).
  - rewrite big_swap; apply big_ext; intros j Hj; rewrite <- big_scal; apply big_ext; intros; ring.
  - intros i Hi; rewrite <- big_scal_r; apply big_ext; intros j Hj; unfold flipm; now rewrite ent_mk.
Qed.

(* -- the Frobenius norm *)
Definition frob (x : mat) : R := sqrt (@ip reals x x).
Lemma ip_cols x y : @ip reals x y = big n (fun j => dot (col x j) (col y j)).
Proof.
  change (@ip reals x y) with (trace (prod (flipm x) y)).
  unfold trace; apply big_ext; intros j Hj; rewrite prod_ent by auto.
  unfold dot, col; apply big_ext; intros i Hi; unfold flipm; now rewrite ent_mk.
Qed.
Lemma ip_nonneg x : 0 <= @ip reals x x.
Proof. rewrite ip_cols; apply big_nonneg; intros; apply dot_nonneg. Qed.
Lemma frob_nonneg x : 0 <= frob x. Proof. apply sqrt_pos. Qed.
Lemma frob_ip x : frob x * frob x = @ip reals x x. Proof. apply sqrt_sqrt, ip_nonneg. Qed.
Lemma frob_square x : frob x ^ 2 = @ip reals x x.
Proof. rewrite <- frob_ip; ring. Qed.
Lemma frob_null x : frob x <= 0 -> x = scal 0 one.
Proof.
  intros H; pose proof (frob_nonneg x); assert (E : @ip reals x x = 0) by (rewrite <- frob_ip; nra).
  rewrite ip_cols in E; apply mat_eq; intros i j Hi Hj; unfold scal; rewrite ent_mk by auto.
  assert (D : dot (col x j) (col x j) = 0).
  { apply (big_null n (fun j => dot (col x j) (col x j))); auto; [intros; apply dot_nonneg|lra]. }
  assert (G : col x j i * col x j i = 0).
  { apply (big_null n (fun i => col x j i * col x j i)); auto; [intros; nra|unfold dot in D; lra]. }
  unfold col in G; nra.
Qed.
Lemma frob_definite (x y : reals) : frob (x + (-1) *: y)%M <= 0 -> x = y.
Proof. intros H; apply frob_null in H; now apply cancel. Qed.
Lemma ip_cs (x y : reals) : ip x y * ip x y <= ip x x * ip y y.
Proof.
  pose proof (ip_nonneg x) as U; destruct U as [U|U].
  - pose proof (ip_nonneg ((- ip x y) *: x + (ip x x) *: y)%M) as H.
    set (b := ip x y) in *; set (a := ip x x) in *; set (c := ip y y) in *.
    assert (E : @ip reals ((- b) *: x + a *: y)%M ((- b) *: x + a *: y)%M = b * b * a - 2 * a * b * b + a * a * c).
    { unfold a, b, c; clear; trace_eq (x :: y :: nil). }
    rewrite E in H.
    assert (0 <= a * c - b * b); [|lra]; apply Rmult_le_reg_l with a; nra.
  - assert (x = scal 0 one) as E by (apply frob_null; unfold frob; rewrite <- U, sqrt_0; lra).
    assert (@ip reals x y = 0) as Z.
    { rewrite E; transitivity (0 * @ip reals one y); [|ring]; change one with (@mone reals);
      change scal with (@scale reals); trace_eq ((y : reals) :: nil). }
    rewrite Z, <- U; lra.
Qed.
Lemma frob_cs (x y : reals) : ip x y <= frob x * frob y.
Proof.
  pose proof (frob_nonneg x); pose proof (frob_nonneg y); apply square_le_of; [nra|].
  replace (frob x * frob y * (frob x * frob y)) with (frob x * frob x * (frob y * frob y)) by ring.
  rewrite !frob_ip; apply ip_cs.
Qed.
Lemma frob_triangle (x y : reals) : frob (x + y)%M <= frob x + frob y.
Proof.
  pose proof (frob_nonneg x); pose proof (frob_nonneg y); apply square_le_of; [lra|].
  rewrite frob_ip; pose proof (frob_cs x y); pose proof (frob_ip x); pose proof (frob_ip y).
  assert (E : @ip reals (x + y)%M (x + y)%M = ip x x + 2 * ip x y + ip y y) by trace_eq (x :: y :: nil).
  rewrite E; nra.
Qed.
Lemma frob_reverse (x y : reals) : frob x - frob y <= frob (x + (-1) *: y)%M.
Proof.
  pose proof (frob_triangle (x + (-1) *: y)%M y) as H.
  replace (x + (-1) *: y + y)%M with x in H by matrix_eq; lra.
Qed.
Lemma frob_transpose (x : reals) : frob (tsp x) = frob x.
Proof. unfold frob; f_equal; trace_eq (x :: nil). Qed.
Lemma frob_identity : frob one = sqrt (IZR (width reals)).
Proof.
  unfold frob; f_equal; change one with (@mone reals); unfold ip.
  now rewrite tsp_one, mmul_one_l, tr_one.
Qed.
Lemma frob_scale s (x : reals) : 0 <= s -> frob (s *: x)%M = s * frob x.
Proof.
  intros H; unfold frob.
  assert (E : @ip reals (s *: x)%M (s *: x)%M = s * s * ip x x) by trace_eq (x :: nil).
  rewrite E, sqrt_mult by (try nra; apply ip_nonneg); f_equal; now apply sqrt_square.
Qed.
Lemma frob_negative (x : reals) : frob ((-1) *: x)%M = frob x.
Proof. unfold frob; f_equal; trace_eq (x :: nil). Qed.

(* -- the spectral norm *)
Definition spec (x : mat) : R := real (Lub_Rbar (fun q => exists v, len v <= 1 /\ q = len (app x v))).
Definition least (x : mat) : R := real (Glb_Rbar (fun q => exists v, len v = 1 /\ q = len (app x v))).

Lemma lub_between (E : R -> Prop) b : (forall q, E q -> q <= b) -> (exists q, E q) ->
  (forall q, E q -> q <= real (Lub_Rbar E)) /\ (forall c, (forall q, E q -> q <= c) -> real (Lub_Rbar E) <= c).
Proof.
  intros B [q Q]; destruct (Lub_Rbar_correct E) as [U L].
  pose proof (U q Q) as low; pose proof (L (Finite b) (fun q H => B q H)) as high.
  destruct (Lub_Rbar E) as [l| |]; simpl in low, high; try easy; simpl; split.
  - intros p P; exact (U p P).
  - intros c C; exact (L (Finite c) (fun q H => C q H)).
Qed.
Lemma glb_between (E : R -> Prop) b : (forall q, E q -> b <= q) -> (exists q, E q) ->
  (forall q, E q -> real (Glb_Rbar E) <= q) /\ (forall c, (forall q, E q -> c <= q) -> c <= real (Glb_Rbar E)).
Proof.
  intros B [q Q]; destruct (Glb_Rbar_correct E) as [U L].
  pose proof (U q Q) as high; pose proof (L (Finite b) (fun q H => B q H)) as low.
  destruct (Glb_Rbar E) as [l| |]; simpl in low, high; try easy; simpl; split.
  - intros p P; exact (U p P).
  - intros c C; exact (L (Finite c) (fun q H => C q H)).
Qed.

Lemma ip_rows (x : mat) : @ip reals x x = big n (fun i => dot (ent x i) (ent x i)).
Proof. rewrite ip_cols; unfold dot, col; apply (big_swap n n (fun j i => ent x i j * ent x i j)). Qed.
Lemma app_frob x v : len (app x v) <= frob x * len v.
Proof.
  pose proof (frob_nonneg x); pose proof (len_nonneg v); apply square_le_of; [nra|].
  rewrite len_square.
  replace (frob x * len v * (frob x * len v)) with (frob x * frob x * (len v * len v)) by ring.
  rewrite frob_ip, len_square, ip_rows, <- big_scal_r; apply big_le; intros i Hi; apply dot_cs.
Qed.
Lemma len_zero v : len v = 0 -> forall x, len (app x v) = 0.
Proof.
  intros H x; pose proof (app_frob x v); pose proof (len_nonneg (app x v)); rewrite H in *; nra.
Qed.
Lemma normalised v : 0 < len v -> len (fun i => / len v * v i) = 1.
Proof.
  intros H; rewrite len_scal, Rabs_pos_eq; [field; lra|left; now apply Rinv_0_lt_compat].
Qed.
Lemma app_normalised x v : 0 < len v -> len (app x (fun i => / len v * v i)) = / len v * len (app x v).
Proof.
  intros H; rewrite (len_ext _ (fun i => / len v * app x v i)) by (intros; apply app_vec).
  rewrite len_scal, Rabs_pos_eq; [easy|left; now apply Rinv_0_lt_compat].
Qed.

Lemma spec_facts x : (forall v, len v <= 1 -> len (app x v) <= spec x) /\
  (forall c, (forall v, len v <= 1 -> len (app x v) <= c) -> spec x <= c).
Proof.
  destruct (lub_between (fun q => exists v, len v <= 1 /\ q = len (app x v)) (frob x)) as [U L].
  - intros q [v [V ->]]; pose proof (app_frob x v); pose proof (frob_nonneg x); nra.
  - exists (len (app x (unit 0))), (unit 0); split; [rewrite unit_len by lia; lra|easy].
  - split; [intros v V; apply U; now exists v|intros c C; apply L; intros q [v [V ->]]; auto].
Qed.
Lemma spec_app x v : len (app x v) <= spec x * len v.
Proof.
  destruct (len_nonneg v) as [H|H].
  - destruct (spec_facts x) as [U _]; specialize (U _ (Req_le _ _ (normalised v H))).
    rewrite app_normalised in U by auto.
    apply (Rmult_le_compat_l (len v)) in U; [|lra].
    replace (len v * (/ len v * len (app x v))) with (len (app x v)) in U by (field; lra); lra.
  - rewrite (len_zero v) by auto; rewrite <- H; lra.
Qed.
Lemma spec_le x c : 0 <= c -> (forall v, len (app x v) <= c * len v) -> spec x <= c.
Proof.
  intros C H; apply (proj2 (spec_facts x)); intros v V.
  pose proof (H v); pose proof (len_nonneg v); nra.
Qed.
Lemma spec_nonneg x : 0 <= spec x.
Proof.
  pose proof (spec_app x (unit 0)) as H; rewrite unit_len in H by lia.
  pose proof (len_nonneg (app x (unit 0))); lra.
Qed.
Lemma least_facts x : (forall v, len v = 1 -> least x <= len (app x v)) /\
  (forall c, (forall v, len v = 1 -> c <= len (app x v)) -> c <= least x).
Proof.
  destruct (glb_between (fun q => exists v, len v = 1 /\ q = len (app x v)) 0) as [U L].
  - intros q [v [V ->]]; apply len_nonneg.
  - exists (len (app x (unit 0))), (unit 0); split; [apply unit_len; lia|easy].
  - split; [intros v V; apply U; now exists v|intros c C; apply L; intros q [v [V ->]]; auto].
Qed.
Lemma least_app x v : least x * len v <= len (app x v).
Proof.
  destruct (len_nonneg v) as [H|H].
  - destruct (least_facts x) as [U _]; specialize (U _ (normalised v H)).
    rewrite app_normalised in U by auto.
    apply (Rmult_le_compat_l (len v)) in U; [|lra].
    replace (len v * (/ len v * len (app x v))) with (len (app x v)) in U by (field; lra); lra.
  - rewrite <- H; pose proof (len_nonneg (app x v)); lra.
Qed.
Lemma least_ge x c : (forall v, c * len v <= len (app x v)) -> c <= least x.
Proof. intros H; apply (proj2 (least_facts x)); intros v V; pose proof (H v); rewrite V in *; lra. Qed.
Lemma least_nonneg x : 0 <= least x.
Proof. apply least_ge; intros v; pose proof (len_nonneg (app x v)); lra. Qed.

Lemma len_prod (x y : mat) v : len (app (prod x y) v) = len (app x (app y v)).
Proof. apply len_ext; intros; now apply app_prod. Qed.
Lemma len_plus_app (x y : mat) v : len (app (plus x y) v) <= len (app x v) + len (app y v).
Proof. rewrite (len_ext _ (fun i => app x v i + app y v i)) by (intros; now apply app_plus). apply len_plus. Qed.
Lemma len_scal_app a (x : mat) v : len (app (scal a x) v) = Rabs a * len (app x v).
Proof. rewrite (len_ext _ (fun i => a * app x v i)) by (intros; now apply app_scal). apply len_scal. Qed.
Lemma len_one v : len (app one v) = len v.
Proof. apply len_ext; intros; now apply app_one. Qed.

Lemma spec_product (x y : reals) : spec (x * y)%M <= spec x * spec y.
Proof.
  pose proof (spec_nonneg x); pose proof (spec_nonneg y); apply spec_le; [nra|]; intros v.
  change (x * y)%M with (prod x y); rewrite len_prod.
  pose proof (spec_app x (app y v)); pose proof (spec_app y v); nra.
Qed.
Lemma spec_triangle (x y : reals) : spec (x + y)%M <= spec x + spec y.
Proof.
  pose proof (spec_nonneg x); pose proof (spec_nonneg y); apply spec_le; [lra|]; intros v.
  pose proof (len_plus_app x y v); pose proof (spec_app x v); pose proof (spec_app y v).
  change (x + y)%M with (plus x y); lra.
Qed.
Lemma spec_reverse (x y : reals) : spec x - spec y <= spec (x + (-1) *: y)%M.
Proof.
  pose proof (spec_triangle (x + (-1) *: y)%M y) as H.
  replace (x + (-1) *: y + y)%M with x in H by matrix_eq; lra.
Qed.
Lemma spec_identity : spec one = 1.
Proof.
  apply Rle_antisym.
  - apply spec_le; [lra|]; intros v; rewrite len_one; lra.
  - pose proof (spec_app one (unit 0)) as H; rewrite len_one, unit_len in H by lia; lra.
Qed.
Lemma spec_scale_le s (x : mat) : spec (scal s x) <= Rabs s * spec x.
Proof.
  pose proof (Rabs_pos s); pose proof (spec_nonneg x); apply spec_le; [nra|]; intros v.
  rewrite len_scal_app; pose proof (spec_app x v); nra.
Qed.
Lemma spec_scale s (x : reals) : 0 <= s -> spec (s *: x)%M = s * spec x.
Proof.
  intros S; apply Rle_antisym.
  - pose proof (spec_scale_le s x) as H; rewrite Rabs_pos_eq in H by auto; exact H.
  - destruct S as [S| <-]; [|rewrite Rmult_0_l; apply spec_nonneg].
    pose proof (spec_scale_le (/ s) (s *: x)%M) as H.
    replace (scal (/ s) (s *: x)%M) with x in H.
    + rewrite Rabs_pos_eq in H by (left; now apply Rinv_0_lt_compat).
      apply (Rmult_le_compat_l s) in H; [|lra].
      replace (s * (/ s * spec (s *: x)%M)) with (spec (s *: x)%M) in H by (field; lra); lra.
    + change (x = (/ s *: (s *: x))%M); rewrite scale_scale, Rinv_l, scale_one; auto; lra.
Qed.
Lemma spec_negative (x : reals) : spec ((-1) *: x)%M = spec x.
Proof.
  assert (H : forall y : reals, spec ((-1) *: y)%M <= spec y).
  { intros y; pose proof (spec_scale_le (-1) y) as H; replace (Rabs (-1)) with 1 in H by (rewrite Rabs_left; lra).
    change ((-1) *: y)%M with (scal (-1) y); lra. }
  apply Rle_antisym; auto; pose proof (H ((-1) *: x)%M) as G.
  replace ((-1) *: ((-1) *: x))%M with x in G by matrix_eq; exact G.
Qed.
Lemma spec_transpose_le (x : mat) : spec (flipm x) <= spec x.
Proof.
  apply spec_le; [apply spec_nonneg|]; intros u.
  set (w := app (flipm x) u).
  destruct (len_nonneg w) as [H|H]; [|rewrite <- H; pose proof (spec_nonneg x); pose proof (len_nonneg u); nra].
  pose proof (dot_len u (app x w)) as D; pose proof (spec_app x w).
  rewrite <- adjoint in D; fold w in D; rewrite <- len_square in D.
  pose proof (len_nonneg u); apply Rmult_le_reg_r with (len w); [easy|nra].
Qed.
Lemma spec_transpose (x : reals) : spec (tsp x) = spec x.
Proof.
  apply Rle_antisym; [apply spec_transpose_le|].
  pose proof (spec_transpose_le (tsp x)) as H; change (flipm (tsp x)) with (tsp (tsp x)) in H.
  now rewrite tsp_tsp in H.
Qed.
Lemma spec_frob x : spec x <= frob x.
Proof. apply spec_le; [apply frob_nonneg|apply app_frob]. Qed.

(* -- both norms *)
Lemma col_prod x y j : (j < n)%nat -> len (col (prod x y) j) = len (app x (col y j)).
Proof. intros H; apply len_ext; intros i Hi; unfold col, app; now rewrite prod_ent. Qed.
Lemma frob_cols x : frob x * frob x = big n (fun j => len (col x j) * len (col x j)).
Proof. rewrite frob_ip, ip_cols; apply big_ext; intros; now rewrite len_square. Qed.
Lemma frob_product_sf_nf (x y : reals) :
  least x * frob y <= frob (x * y)%M /\ frob (x * y)%M <= spec x * frob y.
Proof.
  pose proof (spec_nonneg x); pose proof (least_nonneg x).
  pose proof (frob_nonneg y); pose proof (frob_nonneg (x * y)%M).
  assert (E : forall a, a * frob y * (a * frob y) = big n (fun j => a * len (col y j) * (a * len (col y j)))).
  { intros a; replace (a * frob y * (a * frob y)) with (a * a * (frob y * frob y)) by ring.
    rewrite frob_cols, <- big_scal; apply big_ext; intros; ring. }
  split; (apply square_le_of; [nra|]); rewrite E, frob_cols; apply big_le; intros j Hj;
    change (x * y)%M with (prod x y); rewrite col_prod by auto;
    pose proof (len_nonneg (col y j)); pose proof (len_nonneg (app x (col y j))).
  - pose proof (least_app x (col y j)); apply Rmult_le_compat; nra.
  - pose proof (spec_app x (col y j)); apply Rmult_le_compat; nra.
Qed.
Lemma frob_product_fn (x y : reals) : frob (x * y)%M <= frob x * spec y.
Proof.
  rewrite <- (frob_transpose (x * y)%M), tsp_mmul.
  pose proof (proj2 (frob_product_sf_nf (tsp y) (tsp x))) as H.
  rewrite spec_transpose, frob_transpose in H; lra.
Qed.
Lemma col_unit x j : (j < n)%nat -> len (col x j) = len (app x (unit j)).
Proof. intros H; apply len_ext; intros i Hi; unfold col; now rewrite app_unit. Qed.
Lemma width_real : IZR (width reals) = INR n.
Proof. simpl width; now rewrite INR_IZR_INZ. Qed.
Lemma frob_below_above (x : reals) :
  sqrt (IZR (width reals)) * least x <= frob x /\ frob x <= sqrt (IZR (width reals)) * spec x.
Proof.
  pose proof (spec_nonneg x); pose proof (least_nonneg x); pose proof (frob_nonneg x).
  rewrite width_real; pose proof (sqrt_pos (INR n)); pose proof (sqrt_sqrt (INR n) (pos_INR n)) as Q.
  assert (E : forall a, sqrt (INR n) * a * (sqrt (INR n) * a) = big n (fun _ => a * a)).
  { intros a; replace (sqrt (INR n) * a * (sqrt (INR n) * a)) with (sqrt (INR n) * sqrt (INR n) * (a * a)) by ring.
    rewrite Q, <- big_one, <- big_scal_r; apply big_ext; intros; ring. }
  split; (apply square_le_of; [nra|]); rewrite E, frob_cols; apply big_le; intros j Hj; rewrite col_unit by auto;
    pose proof (unit_len j Hj) as U.
  - pose proof (least_app x (unit j)) as G; rewrite U in G; apply Rmult_le_compat; lra.
  - pose proof (spec_app x (unit j)) as G; rewrite U in G; pose proof (len_nonneg (app x (unit j))).
    apply Rmult_le_compat; lra.
Qed.

(* -- the smallest singular value *)
Lemma least_product (x y : reals) : least x * least y <= least (x * y)%M.
Proof.
  apply least_ge; intros v; change (x * y)%M with (prod x y); rewrite len_prod.
  pose proof (least_app x (app y v)); pose proof (least_app y v); pose proof (least_nonneg x); nra.
Qed.
Lemma least_sum (x y : reals) : least x - spec y <= least (x + y)%M.
Proof.
  apply least_ge; intros v; change (x + y)%M with (plus x y).
  pose proof (len_plus_app (plus x y) (scal (-1) y) v) as H.
  replace (plus (plus x y) (scal (-1) y)) with x in H.
  - rewrite len_scal_app in H; replace (Rabs (-1)) with 1 in H by (rewrite Rabs_left; lra).
    pose proof (least_app x v); pose proof (spec_app y v); lra.
  - change (x = ((x + y) + (-1) *: y)%M); matrix_eq.
Qed.
Lemma least_identity : least one = 1.
Proof.
  apply Rle_antisym.
  - pose proof (least_app one (unit 0)) as H; rewrite len_one, unit_len in H by lia; lra.
  - apply least_ge; intros v; rewrite len_one; lra.
Qed.
Lemma least_shift (x : reals) : 1 - spec x <= least (mone + x)%M.
Proof. rewrite <- least_identity; apply (least_sum one x). Qed.
Lemma least_difference (x y : reals) : least x - spec y <= least (x + (-1) *: y)%M.
Proof. rewrite <- (spec_negative y); apply least_sum. Qed.
Lemma least_below (x : reals) : least x <= spec x.
Proof.
  pose proof (least_app x (unit 0)) as H; pose proof (spec_app x (unit 0)) as G.
  rewrite unit_len in H, G by lia; lra.
Qed.
Lemma least_scale s (x : reals) : 0 <= s -> least (s *: x)%M = s * least x.
Proof.
  intros S; apply Rle_antisym.
  - destruct S as [S| <-].
    + assert (/ s * least (s *: x)%M <= least x).
      { apply least_ge; intros v; pose proof (least_app (s *: x)%M v) as H.
        change (s *: x)%M with (scal s x) in *; rewrite len_scal_app, Rabs_pos_eq in H by lra.
        apply Rmult_le_reg_l with s; [easy|].
        replace (s * (/ s * least (scal s x) * len v)) with (least (scal s x) * len v) by (field; lra); lra. }
      apply Rmult_le_reg_l with (/ s); [now apply Rinv_0_lt_compat|].
      replace (/ s * (s * least x)) with (least x) by (field; lra); lra.
    + pose proof (least_below (0 *: x)%M) as H; rewrite (spec_scale 0 x) in H by lra; lra.
  - apply least_ge; intros v; change (s *: x)%M with (scal s x); rewrite len_scal_app, Rabs_pos_eq by lra.
    pose proof (least_app x v); nra.
Qed.

(* -- a square system has a kernel or a solution, whatever its right side: elimination *)
Lemma big_head m f : big (S m) f = f 0%nat + big m (fun i => f (S i)).
Proof. induction m; [simpl; ring|]; change (big (S (S m)) f) with (big (S m) f + f (S m)); rewrite IHm; simpl; ring. Qed.
Definition skip (p i : nat) : nat := if Nat.ltb i p then i else S i.
Lemma skip_onto m p i : (p < S m)%nat -> (i < S m)%nat -> i <> p -> exists l, (l < m)%nat /\ skip p l = i.
Proof.
  intros Hp Hi N; unfold skip; destruct (Nat.ltb_spec i p).
  - exists i; split; [lia|]; destruct (Nat.ltb_spec i p); lia.
  - exists (i - 1)%nat; split; [lia|]; destruct (Nat.ltb_spec (i - 1) p); lia.
Qed.
Definition joined (a0 : R) (v : nat -> R) (j : nat) : R := match j with O => a0 | S j => v j end.
Lemma eliminated m (a : nat -> nat -> R) p v wp i : a p 0%nat <> 0 ->
  big (S m) (fun j => a i j * joined ((wp - big m (fun j => a p (S j) * v j)) / a p 0%nat) v j)
  = big m (fun j => (a i (S j) - a i 0%nat / a p 0%nat * a p (S j)) * v j) + a i 0%nat / a p 0%nat * wp.
Proof.
  intros H; rewrite big_head; simpl.
  rewrite (big_ext m (fun j => (a i (S j) - a i 0%nat / a p 0%nat * a p (S j)) * v j)
    (fun j => a i (S j) * v j + - (a i 0%nat / a p 0%nat) * (a p (S j) * v j))) by (intros; ring).
  rewrite big_plus, big_scal; field; easy.
Qed.
Lemma solve m : forall a : nat -> nat -> R,
  (exists v, (exists i, (i < m)%nat /\ v i <> 0) /\
    forall i, (i < m)%nat -> big m (fun j => a i j * v j) = 0) \/
  (forall w, exists v, forall i, (i < m)%nat -> big m (fun j => a i j * v j) = w i).
Proof.
  induction m; intros a.
  - right; intros w; exists w; intros; lia.
  - destruct (Classical_Prop.classic (exists p, (p < S m)%nat /\ a p 0%nat <> 0)) as [[p [Hp P]]|N].
    + assert (Z : forall v wp, big (S m) (fun j => a p j * joined ((wp - big m (fun j => a p (S j) * v j)) / a p 0%nat) v j) = wp).
      { intros v wp; rewrite eliminated by auto.
        rewrite (big_ext m _ (fun _ => 0)); [rewrite big_zero; field; auto|intros; field; auto]. }
      destruct (IHm (fun i j => a (skip p i) (S j) - a (skip p i) 0%nat / a p 0%nat * a p (S j))) as [[v [[i [Hi V]] K]]|K].
      * left; exists (joined ((0 - big m (fun j => a p (S j) * v j)) / a p 0%nat) v); split.
        -- exists (S i); split; [lia|easy].
        -- intros l Hl; destruct (Nat.eq_dec l p) as [->|D]; [apply Z|].
           destruct (skip_onto m p l Hp Hl D) as [l' [Hl' <-]]; rewrite eliminated by auto; rewrite K by auto; ring.
      * right; intros w.
        destruct (K (fun i => w (skip p i) - a (skip p i) 0%nat / a p 0%nat * w p)) as [v V].
        exists (joined ((w p - big m (fun j => a p (S j) * v j)) / a p 0%nat) v).
        intros l Hl; destruct (Nat.eq_dec l p) as [->|D]; [apply Z|].
        destruct (skip_onto m p l Hp Hl D) as [l' [Hl' <-]]; rewrite eliminated by auto; rewrite V by auto; ring.
    + left; exists (joined 1 (fun _ => 0)); split.
      * exists 0%nat; split; [lia|simpl; lra].
      * intros i Hi; rewrite big_head; simpl.
        rewrite (big_ext m _ (fun _ => 0)) by (intros; ring); rewrite big_zero.
        destruct (Req_dec (a i 0%nat) 0) as [E|E]; [rewrite E; ring|exfalso; apply N; now exists i].
Qed.
Lemma least_transpose_le (x : mat) : least x <= least (flipm x).
Proof.
  destruct (least_nonneg x) as [P|P]; [|rewrite <- P; apply least_nonneg].
  apply least_ge; intros u.
  destruct (solve n (ent x)) as [[v [[i [Hi V]] K]]|K].
  - exfalso.
    assert (len v = 0) as L.
    { pose proof (least_app x v) as H.
      rewrite (len_ext (app x v) (fun i => 0 * v i)) in H by (intros l Hl; unfold app; rewrite K by auto; ring).
      rewrite len_scal, Rabs_R0 in H; pose proof (len_nonneg v); nra. }
    pose proof (len_square v) as Q; rewrite L in Q.
    assert (v i * v i = 0); [|nra].
    apply (big_null n (fun i => v i * v i)); auto; [intros; nra|unfold dot in Q; lra].
  - destruct (K u) as [v V].
    assert (E : dot u u = dot (app (flipm x) u) v).
    { rewrite adjoint; apply dot_ext; auto; intros l Hl; symmetry; now apply V. }
    pose proof (dot_len (app (flipm x) u) v) as D; rewrite <- E, <- len_square in D.
    pose proof (least_app x v) as M; rewrite (len_ext (app x v) u) in M by (intros; now apply V).
    pose proof (len_nonneg (app (flipm x) u)); pose proof (len_nonneg v).
    destruct (len_nonneg u) as [U|U]; [|rewrite <- U; lra].
    apply Rmult_le_reg_r with (len u); [easy|nra].
Qed.
Lemma least_transpose (x : reals) : least (tsp x) = least x.
Proof.
  apply Rle_antisym; [|apply least_transpose_le].
  pose proof (least_transpose_le (tsp x)) as H; change (flipm (tsp x)) with (tsp (tsp x)) in H.
  now rewrite tsp_tsp in H.
Qed.
Lemma frob_product_fs (x y : reals) : frob x * least y <= frob (x * y)%M.
Proof.
  rewrite <- (frob_transpose (x * y)%M), tsp_mmul.
  pose proof (proj1 (frob_product_sf_nf (tsp y) (tsp x))) as H.
  rewrite least_transpose, frob_transpose in H; lra.
Qed.
Lemma frob_product_nf (x y : reals) : frob (x * y)%M <= spec x * frob y.
Proof. apply frob_product_sf_nf. Qed.
Lemma frob_product_sf (x y : reals) : least x * frob y <= frob (x * y)%M.
Proof. apply frob_product_sf_nf. Qed.
Lemma frob_below (x : reals) : frob x <= sqrt (IZR (width reals)) * spec x.
Proof. apply frob_below_above. Qed.
Lemma frob_above (x : reals) : sqrt (IZR (width reals)) * least x <= frob x.
Proof. apply frob_below_above. Qed.
End Size.
