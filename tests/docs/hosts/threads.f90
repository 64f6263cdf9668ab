! SPDX-License-Identifier: Apache-2.0
! An OpenMP host that steps the coupler inside its parallel region; coupled as docs/coupling_a_host.md says.
program threads
   use, intrinsic :: iso_fortran_env, only: real64
   use omp_lib, only: omp_get_max_threads, omp_set_num_threads
   use coupler_plugin, only: coupler_t
   implicit none
   integer, parameter :: ncell = 64, nsteps = 4
   type(coupler_t) :: coupler
   real(real64), target :: t2m(ncell), swdown(ncell), lai(ncell)
   integer :: id(ncell), i, istep

   id(:) = [(i, i=1, ncell)]
   t2m(:) = 0
   swdown(:) = 200
   lai(:) = -1
   call omp_set_num_threads(3)
   call coupler%init('coupling.yml', start='2001-01-01', dt=1800.0_real64)
   call coupler%set_cells(id, real(id), real(id))
   call coupler%bind('tas', t2m, units='degC')
   call coupler%bind('rsds', swdown)
   call coupler%bind('lai', lai)
   !$omp parallel private(istep)
   do istep = 1, nsteps
      !$omp do
      do i = 1, ncell
         t2m(i) = istep + id(i)
      end do
      !$omp end do
      call step()
   end do
   !$omp end parallel
   call coupler%finalize()
   print '(a, l1)', 'threads=', all(abs(lai - (0.01*(3.5 + id) + 0.2)) < 1e-5)
   print '(a, i0)', 'max_threads=', omp_get_max_threads()
contains
   include 'threads.inc'
end program threads
